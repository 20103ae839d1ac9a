import { describe, expect, it } from 'vitest';
import type { ModelFiles } from '../../../src/core/model-files.ts';
import { TokenizerError } from '../../../src/plan/tokenizer/types.ts';
import { vocabularyOf } from './vocabulary.ts';

describe('no tokenizer', () => {
  it.each<[string, Partial<ModelFiles>, RegExp]>([
    ['at all', {}, /neither/],
    ['of a kind GGUF has', { tokenizer: { model: { type: 'Unigram', vocab: [] } } }, /type Unigram/],
  ])('%s is an error', (_, parts, message) => {
    expect(() => vocabularyOf(parts, 4)).toThrow(TokenizerError);
    expect(() => vocabularyOf(parts, 4)).toThrow(message);
  });
});
