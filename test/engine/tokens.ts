import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { openTokenizer, type Tokenizer } from '../../src/calibrate/tokenizer.ts';
import type { MetadataEntry } from '../../src/core/metadata.ts';
import { readGguf } from '../../src/read/gguf.ts';
import { repository } from '../support/checkpoints.ts';
import { conversions, sotu } from '../support/conversions.ts';
import { goldenModels } from '../support/golden.ts';
import { tricky } from '../support/tricky-texts.ts';
import { Llama } from './llama.ts';

/** Every model here whose architecture can be converted. */
export const models = [
  { name: 'sotu-3m', directory: sotu },
  { name: 'ts-656k', directory: join(repository, '../shared/models/ts-656k') },
  ...goldenModels.map(({ name, checkpoint }) => ({ name, directory: checkpoint })),
];

export const evalText = readFileSync(join(repository, 'fixtures/text/eval.txt'), 'utf8');

/** Texts on which the splitting of words, special tokens and white space differ. */
export const texts: readonly string[] = [
  ...tricky,
  '<s>a</s> b<unk>c <|im_end|>\n<0x0A>',
  "ſ K İı ǅ ʰ ª 'ſ 'S 'Ll 'RE we'D",
  "aA Aa AAa aAA éÉ ÉÉé Éa aÉ 中aA HTMLParser iPhone don'T",
  'e\u0301 ก็ नि \u0301\u0301 a\u0308b',
  '$1.50 + 2^3 = <b> ~x~ `c` | a.b.c !Abc ?def //path/to \\n #tag @you',
  'nospaceatall'.repeat(200),
  '日本語'.repeat(200),
  ' '.repeat(1000),
  '\n\n\n \n\n a\n\n\nb \r\n \r\n',
];

function firstDifference(got: ArrayLike<number>, expected: ArrayLike<number>): string | null {
  const at = Array.from(expected).findIndex((id, i) => id !== got[i]);
  if (at < 0) return got.length === expected.length ? null : `${got.length} tokens, not ${expected.length}`;
  const near = (ids: ArrayLike<number>) => Array.from(ids).slice(Math.max(0, at - 3), at + 5);
  return `token ${at}: ... ${near(got)} ... instead of ... ${near(expected)} ...`;
}

/** One model in our tokenizer and in the engine. */
export interface Both {
  readonly ours: Tokenizer;
  readonly engine: Llama;
  readonly metadata: readonly MetadataEntry[];
  /** What the engine can read of a text: it aborts at unknown characters where the vocabulary has no bytes. */
  readonly readable: (text: string) => string;
}

export function open(path: string): Both {
  const { metadata } = readGguf(path);
  const values = new Map(metadata.map(({ key, value }) => [key, value]));
  const known = new Set(values.get('tokenizer.ggml.tokens') as readonly string[]);
  const readsAll = values.get('tokenizer.ggml.model') !== 'llama' || known.has('<0x0A>');
  return {
    ours: openTokenizer(metadata, path),
    engine: Llama.load(path, { context: 32 }),
    metadata,
    readable: (text) =>
      readsAll ? text : Array.from(text, (character) => (known.has(character) ? character : ' ')).join(''),
  };
}

/** Fails where the two give other tokens for a text, control tokens taken as text or for themselves. */
export const compare = ({ ours, engine, readable }: Both, whole: string): void => {
  const text = readable(whole);
  for (const special of [false, true]) {
    const expected = engine.tokenize(text, { parseSpecial: special });
    const difference = firstDifference(ours.encode(text, { special }), expected);
    if (difference !== null)
      expect.fail(`${JSON.stringify(text.slice(0, 60))}, special ${special}: ${difference}`);
  }
};

/** A test for each name: the model converted with that `tokenizer.ggml.pre`. */
export function splittingTests(model: string, names: readonly string[]): void {
  const convert = conversions(model);

  it.each(names)('%s', async (name) => {
    const both = open((await convert({ type: 'Q8_0', tokenizerPre: name })).path);
    for (const text of texts) compare(both, text);
    compare(both, evalText.slice(0, 20_000));
    both.engine.free();
  });
}
