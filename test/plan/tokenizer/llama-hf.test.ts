import { describe, expect, it } from 'vitest';
import type { JsonObject } from '../../../src/core/model-files.ts';
import { TokenizerError } from '../../../src/plan/tokenizer/types.ts';
import { bpeTokenizer } from '../../support/synthetic.ts';
import { qwen2, vocabularyOf } from './vocabulary.ts';

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
