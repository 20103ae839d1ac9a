import { describe, expect, it } from 'vitest';
import type { JsonObject } from '../../../src/core/model-files.ts';
import { TokenizerError } from '../../../src/plan/tokenizer/types.ts';
import { bpeTokenizer } from '../../support/synthetic.ts';
import { vocabularyOf } from './vocabulary.ts';

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
