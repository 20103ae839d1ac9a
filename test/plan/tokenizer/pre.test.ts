import { describe, expect, it } from 'vitest';
import type { JsonObject } from '../../../src/core/model-files.ts';
import { preTokenizerName, UnknownPreTokenizerError } from '../../../src/plan/tokenizer/pre.ts';
import { bpeTokenizer, byteLevel, modelFiles } from '../../support/synthetic.ts';
import { llama, vocabularyOf } from './vocabulary.ts';

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
