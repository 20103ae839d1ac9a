import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { JsonObject, ModelFiles } from '../../src/core/model-files.ts';
import { architectures } from '../../src/plan/arch/index.ts';
import { ModelConfig } from '../../src/plan/config.ts';
import { MetadataBuilder } from '../../src/plan/metadata-builder.ts';
import { addVocabulary } from '../../src/plan/tokenizer/index.ts';
import { preTokenizerName, UnknownPreTokenizerError } from '../../src/plan/tokenizer/pre.ts';
import { readSentencePiece } from '../../src/plan/tokenizer/sentencepiece.ts';
import { addSpecialTokens } from '../../src/plan/tokenizer/special.ts';
import { TokenizerError } from '../../src/plan/tokenizer/types.ts';
import { bytesField, pieceMessage, sentencePieceModel, varint } from '../support/sentencepiece.ts';
import { bpeTokenizer, byteLevel, modelFiles, valuesByKey } from '../support/synthetic.ts';

const [llama, , qwen2] = architectures;

/** `tokenizer.*` values that these files lead to, keys without the common prefix, and the warnings. */
function vocabularyOf(parts: Partial<ModelFiles>, rows: number, architecture = llama, pre?: string) {
  const metadata = new MetadataBuilder();
  const warnings: string[] = [];
  const config = new ModelConfig({ vocab_size: rows }, 'config.json');
  addVocabulary(metadata, architecture, config, modelFiles(parts), {
    pre,
    warn: (sentence) => warnings.push(sentence),
  });
  const values = Object.entries(valuesByKey(metadata.entries()));
  return {
    warnings,
    values: Object.fromEntries(
      values.map(([key, value]) => [key.replace(/^tokenizer\.(ggml\.)?/, ''), value]),
    ),
  };
}

describe('byte-level BPE', () => {
  it('gives ids without a token unused padding, and added tokens their kind', () => {
    const tokenizer = bpeTokenizer(['a', 'b', 'ab'], {
      added_tokens: [
        { id: 3, content: '<|end|>', special: true, normalized: false },
        { id: 4, content: '▁▁', special: false, normalized: true },
        { id: 5, content: '<|looks|>', special: false, normalized: true },
        { id: 7, content: 'Ġé', special: false, normalized: false },
      ],
    });
    const { values, warnings } = vocabularyOf({ tokenizer }, 9);
    // The last is matched in raw text, so it is stored as the bytes it stands for: a space and a stray 0xE9.
    expect(values.tokens).toEqual([
      'a',
      'b',
      'ab',
      '<|end|>',
      '  ',
      '<|looks|>',
      '[PAD6]',
      ' \ufffd',
      '[PAD8]',
    ]);
    expect(values.token_type).toEqual([1, 1, 1, 3, 4, 3, 5, 4, 5]);
    expect(values).toMatchObject({ model: 'gpt2', pre: 'gpt-2', merges: ['a b'] });
    expect(values.scores).toBeUndefined();
    expect(warnings).toEqual([]);
  });

  it('takes in tokens that only the configuration names', () => {
    const { values } = vocabularyOf(
      {
        tokenizer: bpeTokenizer(['a', 'b', '<eos>']),
        tokenizerConfig: {
          eos_token: '<eos>',
          pad_token: { content: '<pad>' },
          added_tokens_decoder: { 3: { content: '<tool>', special: false } },
        },
      },
      6,
    );
    expect(values.tokens).toEqual(['a', 'b', '<eos>', '<tool>', '<pad>', '[PAD5]']);
    expect(values.token_type).toEqual([1, 1, 3, 4, 3, 5]);
  });

  it('leaves out added tokens without an embedding, but no token of its own', () => {
    const added_tokens = [{ id: 2, content: '<pad>', special: true }];
    const fits = vocabularyOf({ tokenizer: bpeTokenizer(['a', 'b'], { added_tokens }) }, 2);
    expect(fits.values.tokens).toEqual(['a', 'b']);
    expect(fits.warnings.join()).toMatch(/<pad>/);
    expect(() => vocabularyOf({ tokenizer: bpeTokenizer(['a', 'b', 'c']) }, 2)).toThrow(
      /ids below vocab_size 2/,
    );
  });

  it('renames a token whose text another one has', () => {
    const added_tokens = [{ id: 2, content: '<x>', special: true, normalized: true }];
    const tokenizer = bpeTokenizer(['a', '<x>'], { added_tokens });
    const { values, warnings } = vocabularyOf({ tokenizer }, 3);
    expect(values.tokens).toEqual(['a', '<x>', '[PAD2]']);
    expect(values.token_type).toEqual([1, 1, 5]);
    expect(warnings.join()).toMatch(/ids 2$/);
  });

  it('writes merges of either form, spaces inside a part as Ġ', () => {
    const model = (merges: JsonObject[string]) => ({ type: 'BPE', vocab: { a: 0 }, merges });
    const merges = (value: JsonObject[string]) =>
      vocabularyOf({ tokenizer: bpeTokenizer([], { model: model(value) }) }, 1).values.merges;
    expect(merges(['a b', 'c d'])).toEqual(['a b', 'c d']);
    expect(
      merges([
        ['a', 'b'],
        ['c c', ' d'],
      ]),
    ).toEqual(['a b', 'cĠc Ġd']);
    expect(merges([])).toBeUndefined();
  });

  it.each([
    ['a fraction', 0.5],
    ['a text', '1'],
    ['negative', -1],
  ])('refuses an id that is %s', (_, id) => {
    const tokenizer = bpeTokenizer([], { model: { type: 'BPE', vocab: { a: id }, merges: [] } });
    expect(() => vocabularyOf({ tokenizer }, 4)).toThrow(TokenizerError);
  });
});

describe('SentencePiece-like tokenizer.json', () => {
  const likeLlama2 = (tokens: readonly string[], added: JsonObject[] = []): JsonObject =>
    bpeTokenizer(tokens, {
      model: {
        type: 'BPE',
        byte_fallback: true,
        vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
        merges: [],
      },
      decoder: { type: 'Sequence', decoders: [] },
      added_tokens: added,
    });
  const tokens = ['<unk>', '<s>', '</s>', '<0x0A>', '▁a'];

  it('knows bytes and special tokens by their texts', () => {
    const { values } = vocabularyOf(
      {
        tokenizer: likeLlama2(tokens, [
          { id: 5, content: '<user>' },
          { id: 6, content: '<pad>', special: true },
        ]),
        tokenizerConfig: { tokenizer_class: 'LlamaTokenizer', pad_token: '<pad>', add_prefix_space: true },
      },
      7,
    );
    expect(values.tokens).toEqual([...tokens, '<user>', '<pad>']);
    expect(values.token_type).toEqual([3, 3, 3, 6, 1, 4, 3]);
    expect(values.scores).toEqual(new Array(7).fill(-1000));
    expect(values).toMatchObject({ model: 'llama', pre: 'default', add_space_prefix: true });
  });

  it('is as long as the embedding', () => {
    const longer = vocabularyOf({ tokenizer: likeLlama2(tokens) }, 7);
    expect((longer.values.tokens as string[]).slice(5)).toEqual(['[PAD5]', '[PAD6]']);
    const shorter = vocabularyOf({ tokenizer: likeLlama2(tokens, [{ id: 5, content: '<x>' }]) }, 5);
    expect(shorter.values.tokens).toEqual(tokens);
    expect(() => vocabularyOf({ tokenizer: likeLlama2(tokens) }, 4)).toThrow(TokenizerError);
  });

  it('of Qwen is byte-level BPE, whose tables do not have this form', () => {
    expect(() => vocabularyOf({ tokenizer: likeLlama2(tokens) }, 5, qwen2)).not.toThrow();
    expect(vocabularyOf({ tokenizer: likeLlama2(tokens) }, 5, qwen2).values.model).toBe('gpt2');
  });
});

describe('tokenizer.model', () => {
  const pieces = [
    { text: '<unk>', score: 0, type: 2 },
    { text: '<s>', score: 0, type: 3 },
    { text: '<0x41>', score: 0, type: 6 },
    { text: '▁the', score: -1.5 },
    { text: 'user', score: -2, type: 4 },
    { text: 'unused', score: 0, type: 5 },
  ];
  const tokenizerModel = sentencePieceModel(pieces);

  it('gives texts, scores and types; other files are laid over it', () => {
    const { values, warnings } = vocabularyOf(
      {
        tokenizerModel,
        tokenizer: bpeTokenizer(['a']), // tokenizer.model goes before it
        addedTokens: { '<add>': 7, '<far>': 99 },
        tokenizerConfig: {
          added_tokens_decoder: {
            1: { content: '<bos>', special: true },
            8: { content: '▁x', special: false },
            9: { content: '<|y|>', special: false },
          },
        },
      },
      11,
    );
    expect(values.tokens).toEqual([
      '<unk>',
      '<bos>',
      '<0x41>',
      '▁the',
      'user',
      'unused',
      '[PAD6]',
      '<add>',
      ' x',
      '<|y|>',
      '[PAD10]',
    ]);
    expect(values.token_type).toEqual([2, 3, 6, 1, 1, 5, 5, 4, 4, 3, 5]);
    expect(values.scores).toEqual([0, -1000, 0, -1.5, -2, 0, -10_000, -1000, -1000, -1000, -10_000]);
    expect(values).toMatchObject({ model: 'llama', pre: 'default' });
    expect(warnings).toEqual(["1 tokens beyond the model's 11 embeddings were left out"]);
  });

  it('is passed over when it is a tiktoken file beside a tokenizer.json', () => {
    const tiktoken = new TextEncoder().encode('IQ== 0\nIg== 1\n');
    const { values, warnings } = vocabularyOf(
      { tokenizerModel: tiktoken, tokenizer: bpeTokenizer(['a']) },
      1,
    );
    expect(values.model).toBe('gpt2');
    expect(warnings.join()).toMatch(/tiktoken/);
    expect(() => vocabularyOf({ tokenizerModel: tiktoken }, 1)).toThrow(TokenizerError);
  });

  it('says when llama.cpp will split otherwise', () => {
    const unigram = Uint8Array.from(bytesField(1, pieceMessage({ text: 'a' })));
    expect(vocabularyOf({ tokenizerModel: unigram }, 1).warnings.join()).toMatch(/not of the BPE kind/);
    const bare = sentencePieceModel(pieces, false);
    expect(vocabularyOf({ tokenizerModel: bare }, 6).warnings.join()).toMatch(/no space before/);
  });

  it.each<[string, readonly number[], RegExp]>([
    ['empty', [], /no pieces/],
    ['a Git LFS pointer', [...new TextEncoder().encode('version https://git-lfs')], /damaged/],
    ['cut inside a piece', bytesField(1, pieceMessage({ text: 'abc' })).slice(0, -1), /runs past the end/],
    ['a length near 2^63', [10, 255, 255, 255, 255, 255, 255, 255, 255, 127, 1], /runs past the end/],
    ['an endless number', new Array(12).fill(255), /more than ten bytes/],
    ['a number cut off', [10, 128], /runs past the end/],
    ['field number zero', [2, 0], /field number 0/],
    ['a group, which proto3 has not', [11], /wire type 3/],
    ['text that is no UTF-8', bytesField(1, bytesField(1, [0xff, 0xfe])), /UTF-8/],
    ['a type that does not exist', bytesField(1, pieceMessage({ text: 'a', type: 9 })), /a type/],
  ])('damaged: %s', (_, bytes, message) => {
    const run = () => readSentencePiece(Uint8Array.from(bytes), 'tokenizer.model');
    expect(run).toThrow(TokenizerError);
    expect(run).toThrow(message);
  });

  it('any bytes give a model or a TokenizerError', () => {
    const mutated = fc
      .array(fc.tuple(fc.nat(tokenizerModel.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 })
      .map((edits) => {
        const bytes = tokenizerModel.slice();
        for (const [at, byte] of edits) bytes[at] = byte;
        return bytes;
      });
    fc.assert(
      fc.property(fc.oneof(mutated, fc.uint8Array({ maxLength: 60 })), (bytes) => {
        try {
          expect(readSentencePiece(bytes, 'f').pieces.length).toBeGreaterThan(0);
        } catch (error) {
          expect(error).toBeInstanceOf(TokenizerError);
        }
      }),
      { seed: 2, numRuns: 500 },
    );
  });

  it('numbers of more than one byte are read', () => {
    const text = 'x'.repeat(300);
    expect(varint(300)).toEqual([0xac, 0x02]);
    expect(readSentencePiece(sentencePieceModel([{ text }]), 'f').pieces[0].text).toBe(text);
  });
});

describe('no tokenizer', () => {
  it.each<[string, Partial<ModelFiles>, RegExp]>([
    ['at all', {}, /neither/],
    ['of a kind GGUF has', { tokenizer: { model: { type: 'Unigram', vocab: [] } } }, /type Unigram/],
  ])('%s is an error', (_, parts, message) => {
    expect(() => vocabularyOf(parts, 4)).toThrow(TokenizerError);
    expect(() => vocabularyOf(parts, 4)).toThrow(message);
  });
});

describe('pre-tokenizer', () => {
  const split = (Regex: string, parts: JsonObject = {}): JsonObject => ({
    type: 'Split',
    pattern: { Regex },
    behavior: 'Isolated',
    invert: false,
    ...parts,
  });
  const bytes: JsonObject = { type: 'ByteLevel', add_prefix_space: false, use_regex: false };
  const sequence = (...pretokenizers: JsonObject[]): JsonObject => ({ type: 'Sequence', pretokenizers });
  const contractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
  const llama3 = `${contractions}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`;
  const qwen = llama3.replace('{1,3}', '');
  const gpt2 = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
  const tekken =
    '[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+';

  const nameOf = (pre_tokenizer: JsonObject, model: JsonObject = {}, parts: JsonObject = {}, bos = '<s>') =>
    preTokenizerName(
      modelFiles({ tokenizerConfig: { bos_token: bos } }),
      { pre_tokenizer, model: { type: 'BPE', ...model }, ...parts },
      'tokenizer.json',
    );
  const llama3Way = { ignore_merges: true };

  it.each<[string, string]>([
    ['gpt-2', nameOf(byteLevel)],
    ['gpt-2', nameOf({ type: 'ByteLevel' })], // both defaults left out
    ['gpt-2', nameOf(sequence(split(gpt2), bytes))],
    ['gpt-2', nameOf(byteLevel, {}, { normalizer: { type: 'NFC' } })],
    ['llama-bpe', nameOf(sequence(split(llama3), bytes), llama3Way)],
    ['llama-bpe', nameOf(sequence(split(llama3, { behavior: 'Removed', invert: true }), bytes), llama3Way)],
    ['llama-bpe', nameOf(sequence(sequence(split(llama3)), bytes), llama3Way)],
    ['smaug-bpe', nameOf(sequence(split(llama3), bytes))],
    ['qwen2', nameOf(sequence(split(qwen), bytes), {}, { normalizer: { type: 'NFC' } })],
    ['qwen2', nameOf(sequence(split(qwen.replaceAll('\\r\\n', '\r\n')), bytes))], // raw line ends
    ['deepseek-r1-qwen', nameOf(sequence(split(qwen), bytes), {}, {}, '<｜begin▁of▁sentence｜>')],
    ['tekken', nameOf(sequence(split(tekken), bytes), llama3Way)],
    ['smollm', nameOf(sequence({ type: 'Digits', individual_digits: true }, byteLevel))],
    [
      'gpt-4o',
      nameOf(
        sequence(
          split(
            tekken
              .replaceAll(']+|[', `]+${contractions}?|[`)
              .replace(']*|\\p{N}|', `]*${contractions}?|\\p{N}{1,3}|`),
          ),
          bytes,
        ),
      ),
    ],
    [
      'deepseek-v3',
      nameOf(
        sequence(
          split('\\p{N}{1,3}'),
          split('[一-龥\u3040-ゟ゠-ヿ]+'),
          split(
            '[!"#$%&\'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+',
          ),
          bytes,
        ),
      ),
    ],
  ])('%s is recognised', (expected, got) => {
    expect(got).toBe(expected);
  });

  it.each<[string, () => string, RegExp]>([
    ['another expression', () => nameOf(sequence(split('\\p{L}+'), bytes)), /split \\p\{L\}\+; bytes/],
    ['a prefixed space', () => nameOf({ ...byteLevel, add_prefix_space: true }), /prefixed space/],
    ['a lossy split', () => nameOf(sequence(split(gpt2, { behavior: 'Removed' }), bytes)), /\(Removed\)/],
    ['digits in groups', () => nameOf(sequence({ type: 'Digits' }, byteLevel)), /in groups/],
    [
      'a lower-casing normalizer',
      () => nameOf(byteLevel, {}, { normalizer: { type: 'Lowercase' } }),
      /Lowercase/,
    ],
    ['suffixed pieces', () => nameOf(byteLevel, { end_of_word_suffix: '</w>' }), /<\/w>/],
    ['white space only', () => nameOf({ type: 'Whitespace' }), /Whitespace/],
  ])('%s is not', (_, run, message) => {
    expect(run).toThrow(UnknownPreTokenizerError);
    expect(run).toThrow(message);
  });

  it('can be named by the user', () => {
    const tokenizer = bpeTokenizer(['a'], { pre_tokenizer: { type: 'Whitespace' } });
    expect(vocabularyOf({ tokenizer }, 1, llama, 'falcon3').values.pre).toBe('falcon3');
  });

  it('says that bos is not added where llama.cpp would', () => {
    const model = { type: 'BPE', vocab: { a: 0 }, merges: [], ignore_merges: true };
    const tokenizer = bpeTokenizer([], { model, pre_tokenizer: sequence(split(llama3), bytes) });
    expect(vocabularyOf({ tokenizer }, 1).values).toMatchObject({ pre: 'llama-bpe', add_bos_token: false });
    expect(vocabularyOf({ tokenizer: bpeTokenizer(['a']) }, 1).values.add_bos_token).toBeUndefined();
  });
});

describe('special tokens', () => {
  const special = (parts: Partial<ModelFiles>, options = {}) => {
    const metadata = new MetadataBuilder();
    addSpecialTokens(metadata, modelFiles(parts), options);
    return metadata.entries().map(({ key, value }) => [key.replace(/^tokenizer\.(ggml\.)?/, ''), value]);
  };
  const added_tokens = ['<s>', '</s>', '<pad>', '<|eot|>'].map((content, id) => ({ id, content }));
  const token = (id: string): JsonObject => ({ SpecialToken: { id, type_id: 0 } });
  const [a, b]: JsonObject[] = [{ Sequence: { id: 'A' } }, { Sequence: { id: 'B' } }];
  const template = (single: JsonObject[], pair: JsonObject[]): JsonObject => ({
    type: 'TemplateProcessing',
    single,
    pair,
  });

  it('come from the tokenizer, then from config.json', () => {
    expect(
      special(
        {
          tokenizer: { added_tokens },
          tokenizerConfig: { bos_token: '<s>', pad_token: { content: '<pad>' }, add_bos_token: true },
          config: { bos_token_id: 9, eos_token_id: [1, 3], unk_token_id: 7, sep_token_id: 500 },
        },
        { vocabularySize: 100 },
      ),
    ).toEqual([
      ['bos_token_id', 0],
      ['padding_token_id', 2],
      ['unknown_token_id', 7],
      ['add_bos_token', true],
    ]);
  });

  it('that a template adds', () => {
    const post_processor = template([token('<s>'), a], [token('<s>'), a, token('<s>'), b]);
    const files = {
      tokenizer: { added_tokens, post_processor: { type: 'Sequence', processors: [post_processor] } },
      tokenizerConfig: { bos_token: '<s>', eos_token: '</s>', add_eos_token: false },
    };
    expect(special(files)).toEqual([
      ['bos_token_id', 0],
      ['eos_token_id', 1],
      ['add_bos_token', true],
      ['add_sep_token', false],
      ['add_eos_token', false],
    ]);
  });

  it('whose end-of-turn the template replaces as end of text', () => {
    const files = {
      tokenizer: { added_tokens, post_processor: template([a, token('</s>')], [a, b]) },
      tokenizerConfig: { eos_token: '<|eot|>' },
    };
    expect(special(files)).toEqual([
      ['eos_token_id', 1],
      ['eot_token_id', 3],
      ['add_eos_token', true],
    ]);
  });

  it('chat templates: one, or named ones', () => {
    expect(special({ tokenizerConfig: { x: 1 }, chatTemplate: 'T' })).toEqual([['chat_template', 'T']]);
    expect(special({ tokenizerConfig: { chat_template: 'C' }, chatTemplate: 'T' })).toEqual([
      ['chat_template', 'C'],
    ]);
    expect(special({ chatTemplate: 'T' })).toEqual([]); // as the converter: not without tokenizer_config.json
    const named = [
      { name: 'default', template: 'D' },
      { name: 'tool use', template: 'U' },
    ];
    expect(special({ tokenizerConfig: { chat_template: named } })).toEqual([
      ['chat_template.tool_use', 'U'],
      ['chat_templates', ['tool_use']],
      ['chat_template', 'D'],
    ]);
  });

  it('of CodeLlama and Granite have settings known by vocabulary size', () => {
    const tokenizer = bpeTokenizer(['a']);
    expect(vocabularyOf({ tokenizer }, 32_016).values.eot_token_id).toBe(32_010);
    expect(vocabularyOf({ tokenizer }, 49_152).values.add_bos_token).toBe(false);
  });
});
