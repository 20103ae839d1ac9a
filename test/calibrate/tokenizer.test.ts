import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Tokenizer as Library } from '@huggingface/tokenizers';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { openTokenizer } from '../../src/calibrate/tokenizer.ts';
import { UnusableTokenizerError } from '../../src/calibrate/vocabulary.ts';
import type { MetadataEntry } from '../../src/core/metadata.ts';
import { readGguf } from '../../src/read/gguf.ts';
import { repository } from '../support/checkpoints.ts';
import { conversions, sotu } from '../support/conversions.ts';
import { tricky } from '../support/tricky-texts.ts';

const key = (name: string) => `tokenizer.ggml.${name}`;
const text = (name: string, value: string): MetadataEntry => ({ key: key(name), type: 'STRING', value });
const flag = (name: string, value: boolean): MetadataEntry => ({ key: key(name), type: 'BOOL', value });
const id = (name: string, value: number): MetadataEntry => ({ key: key(name), type: 'UINT32', value });
const texts = (name: string, value: readonly string[]): MetadataEntry => ({
  ...{ key: key(name), type: 'ARRAY', elementType: 'STRING', value },
});
const integers = (name: string, value: readonly number[]): MetadataEntry => ({
  ...{ key: key(name), type: 'ARRAY', elementType: 'INT32', value: Int32Array.from(value) },
});
const floats = (name: string, value: readonly number[]): MetadataEntry => ({
  ...{ key: key(name), type: 'ARRAY', elementType: 'FLOAT32', value: Float32Array.from(value) },
});

const [NORMAL, CONTROL, USER] = [1, 3, 4];

/** A SentencePiece vocabulary: token, score, kind. The first is what is unknown. */
function sentencePiece(tokens: readonly (readonly [string, number, number?])[], ...more: MetadataEntry[]) {
  const all = [['<unk>', 0, 2] as const, ...tokens];
  const metadata = [
    text('model', 'llama'),
    texts(
      'tokens',
      all.map(([token]) => token),
    ),
    floats(
      'scores',
      all.map(([, score]) => score),
    ),
    integers(
      'token_type',
      all.map(([, , type = NORMAL]) => type),
    ),
    flag('add_space_prefix', false),
  ];
  const kept = metadata.filter((entry) => !more.some((other) => other.key === entry.key));
  const tokenizer = openTokenizer([...kept, ...more], 'model.gguf');
  const words = (input: string, special = false) =>
    tokenizer.encode(input, { special }).map((one) => all[one][0]);
  return { tokenizer, words };
}

/** A byte-level vocabulary: single characters that stand for bytes, and merges. */
function byteLevel(
  merges: readonly string[],
  added: readonly (readonly [string, number])[],
  ...more: MetadataEntry[]
) {
  const characters = Array.from('abcdefghijklmnopqrstuvwxyz<>|/_ĠĊ');
  const own = [...characters, ...merges.map((merge) => merge.replace(' ', ''))];
  const tokens = [...own, ...added.map(([token]) => token)];
  const metadata = [
    text('model', 'gpt2'),
    text('pre', 'gpt-2'),
    texts('tokens', tokens),
    integers('token_type', [...own.map(() => NORMAL), ...added.map(([, type]) => type)]),
    texts('merges', merges),
  ];
  const kept = metadata.filter((entry) => !more.some((other) => other.key === entry.key));
  const tokenizer = openTokenizer([...kept, ...more], 'model.gguf');
  const words = (input: string, special = false) =>
    tokenizer.encode(input, { special }).map((one) => tokens[one]);
  return { tokenizer, words };
}

describe('SentencePiece', () => {
  it('joins what scores highest first, the leftmost of equals', () => {
    const letters = Array.from('abc', (letter) => [letter, -100] as const);
    expect(sentencePiece([...letters, ['ab', -1], ['bc', -2]]).words('abc')).toEqual(['ab', 'c']);
    expect(sentencePiece([...letters, ['ab', -2], ['bc', -1]]).words('abc')).toEqual(['a', 'bc']);
    expect(sentencePiece([...letters, ['ab', -1], ['bc', -1]]).words('abc')).toEqual(['ab', 'c']);
    expect(sentencePiece([...letters, ['aa', -1]]).words('aaaaa')).toEqual(['aa', 'aa', 'a']);
  });

  it('a character without a token becomes its bytes; without bytes, unknown', () => {
    const bytes = ['<0xC3>', '<0xA9>'].map((token) => [token, 0, 6] as const);
    expect(sentencePiece([['a', 0], ...bytes]).words('aé')).toEqual(['a', '<0xC3>', '<0xA9>']);
    expect(sentencePiece([['a', 0]]).words('aéé')).toEqual(['a', '<unk>', '<unk>']);
    const none = sentencePiece([['a', 0]], id('unknown_token_id', 9)).tokenizer;
    expect(none.unknown).toBe(0); // An id beyond the vocabulary leaves the default.
  });

  it('puts a space before a text and after a special token, if it does at all', () => {
    const tokens = [
      ['▁', 0],
      ['a', 0],
      ['▁a', 0],
      ['<x>', 0, USER],
    ] as const;
    expect(sentencePiece(tokens, flag('add_space_prefix', true)).words('a<x>a a')).toEqual([
      '▁a',
      '<x>',
      '▁a',
      '▁a',
    ]);
    expect(sentencePiece(tokens).words('a<x>a a')).toEqual(['a', '<x>', 'a', '▁a']);
  });

  /** The definition, without a queue and without cutting the text into words. */
  function slowly(input: string, scores: ReadonlyMap<string, number>): string[] {
    const symbols = Array.from(input);
    for (;;) {
      let best = -1;
      const score = (i: number) => scores.get(symbols[i] + symbols[i + 1]) ?? Number.NEGATIVE_INFINITY;
      for (let i = 0; i + 1 < symbols.length; i++) {
        if (score(i) > (best < 0 ? Number.NEGATIVE_INFINITY : score(best))) best = i;
      }
      if (best < 0) return symbols.map((symbol) => (scores.has(symbol) ? symbol : '<unk>'));
      symbols.splice(best, 2, symbols[best] + symbols[best + 1]);
    }
  }

  it('equals its definition on any vocabulary and text', () => {
    const letter = fc.constantFrom('a', 'b', '▁', '😀');
    const token = fc.array(letter, { minLength: 1, maxLength: 4 }).map((letters) => letters.join(''));
    const vocabulary = fc.uniqueArray(fc.tuple(token, fc.integer({ min: -4, max: 0 })), {
      maxLength: 20,
      selector: ([word]) => word,
    });
    const input = fc.array(letter, { maxLength: 30 }).map((letters) => letters.join(''));
    fc.assert(
      fc.property(vocabulary, input, (tokens, sample) => {
        expect(sentencePiece(tokens).words(sample)).toEqual(slowly(sample, new Map(tokens)));
      }),
      { numRuns: 300 },
    );
  });

  it('takes time in proportion to the text, even without a place to cut it', () => {
    const { words } = sentencePiece([
      ['▁', 0],
      ['▁▁', -1],
      ['▁▁▁▁', -2],
    ]);
    expect(words(' '.repeat(200_000)).length).toBe(50_000);
  });
});

describe('byte-level BPE', () => {
  it('merges by rank, the first of equal merges', () => {
    expect(byteLevel(['a b', 'b c', 'ab c'], []).words('abc bcab')).toEqual(['abc', 'Ġ', 'bc', 'ab']);
    expect(byteLevel(['b c', 'a b'], []).words('abc')).toEqual(['a', 'bc']);
    expect(byteLevel(['a b', 'b c', 'a b'], []).words('abc')).toEqual(['ab', 'c']);
  });

  it('ignores merges only where llama.cpp does', () => {
    const merges = ['a b', 'b c'];
    const added = [['abc', NORMAL]] as const;
    expect(byteLevel(merges, added).words('abc')).toEqual(['ab', 'c']);
    expect(byteLevel(merges, added, text('pre', 'llama-bpe')).words('abc')).toEqual(['abc']);
  });

  it('BOS is added when the file says so, or else by the name of the pre-tokenizer', () => {
    const bos = id('bos_token_id', 0);
    expect(byteLevel(['a b'], [], bos).tokenizer).toMatchObject({ bos: 0, addsBos: false, addsEos: false });
    expect(byteLevel(['a b'], [], bos, flag('add_bos_token', true)).tokenizer.addsBos).toBe(true);
    expect(byteLevel(['a b'], [], bos, text('pre', 'llama-bpe')).tokenizer.addsBos).toBe(true);
    const no = flag('add_bos_token', false);
    expect(byteLevel(['a b'], [], bos, no, text('pre', 'llama-bpe')).tokenizer.addsBos).toBe(false);
    expect(byteLevel(['a b'], [], flag('add_eos_token', true)).tokenizer).toMatchObject({
      eos: 11,
      addsEos: true,
    });
  });

  it('gives the ids of the model’s own tokenizer.json', async () => {
    const { path } = await conversions(sotu)({ type: 'Q8_0' });
    const json = (name: string) => JSON.parse(readFileSync(join(sotu, name), 'utf8'));
    const library = new Library(json('tokenizer.json'), json('tokenizer_config.json'));
    const ours = openTokenizer(readGguf(path).metadata, path);
    const evalText = readFileSync(join(repository, 'fixtures/text/eval.txt'), 'utf8').slice(0, 100_000);
    for (const sample of [evalText, ...tricky]) {
      expect(ours.encode(sample, { special: true })).toEqual(
        library.encode(sample, { add_special_tokens: false }).ids,
      );
    }
  });
});

describe('special tokens', () => {
  const added = [
    ['<a>', USER],
    ['<a><b>', USER],
    ['<b>', CONTROL],
    ['<|im_end|>', USER],
    ['<PRE>', NORMAL],
  ] as const;

  it('user-defined ones are always taken, the longest first; control ones when asked for', () => {
    const { words } = byteLevel(['a b'], added);
    expect(words('x<a><b><a>')).toEqual(['x', '<a><b>', '<a>']);
    expect(words('<b>')).toEqual(['<', 'b', '>']);
    expect(words('<b>ab<b>', true)).toEqual(['<b>', 'ab', '<b>']);
  });

  it('those that end or fill a text are control tokens whatever they are stored as', () => {
    const { words } = byteLevel(['a b'], added);
    expect(words('<|im_end|>', true)).toEqual(['<|im_end|>']);
    expect(words('<|im_end|>').length).toBe(10);
    // Capitals have no token here, and vanish.
    expect(words('<PRE>', true)).toEqual(['<PRE>']);
    expect(byteLevel(['a b'], added, id('fim_pre_token_id', 0)).words('<PRE>', true)).toEqual(['<', '>']);
  });

  it('in Phi-3, take the white space after them', () => {
    const name: MetadataEntry = { key: 'general.name', type: 'STRING', value: 'Phi-3 mini' };
    expect(byteLevel(['a b'], added).words('<a> \nab')).toEqual(['<a>', 'Ġ', 'Ċ', 'ab']);
    expect(byteLevel(['a b'], added, name).words('<a> \nab')).toEqual(['<a>', 'ab']);
  });
});

describe('a tokenizer that cannot be used', () => {
  const tokens = texts('tokens', ['a', 'b']);

  it.each<[string, MetadataEntry[], RegExp]>([
    ['none', [], /tokenizer\.json or tokenizer\.model beside the weights/],
    ['none, said so', [text('model', 'none')], /put the tokenizer files/],
    ['of another kind', [text('model', 'bert'), tokens], /got: {6}tokenizer\.ggml\.model = bert/],
    [
      'with too few scores',
      [text('model', 'llama'), tokens, floats('scores', [0])],
      /scores: at least 2 items/,
    ],
    ['without merges', [text('model', 'gpt2'), tokens], /tokenizer\.ggml\.merges/],
    [
      'cut in an unknown way',
      [text('model', 'gpt2'), text('pre', 'kimi-k2'), tokens, texts('merges', ['a b'])],
      /one of llama-bpe,[\s\S]*got: {6}kimi-k2/,
    ],
  ])('%s', (_name, metadata, message) => {
    expect(() => openTokenizer(metadata, 'model.gguf')).toThrow(UnusableTokenizerError);
    expect(() => openTokenizer(metadata, 'model.gguf')).toThrow(message);
  });
});
