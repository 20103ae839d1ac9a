import { Tokenizer as WordTokenizer } from '@huggingface/tokenizers';
import { fragments } from './fragments.ts';
import type { Splitting } from './splits.ts';
import type { Vocabulary } from './vocabulary.ts';

/**
 * Byte-level BPE as llama.cpp runs it (`llm_tokenizer_bpe_session`): words by its splitting, bytes as characters,
 * merges by rank, no normalization. The words are the library's work; special tokens are cut out before, for it looks
 * for them from left to right, llama.cpp for the longest first.
 */
export class ByteLevel {
  readonly #vocabulary: Vocabulary;
  readonly #words: WordTokenizer;

  constructor(vocabulary: Vocabulary, splitting: Splitting) {
    this.#vocabulary = vocabulary;
    this.#words = new WordTokenizer(
      {
        model: {
          type: 'BPE',
          vocab: Object.fromEntries(vocabulary.ids),
          merges: rankedMerges(vocabulary.merges),
          ignore_merges: splitting.ignoreMerges,
        },
        normalizer: null,
        pre_tokenizer: {
          type: 'Sequence',
          pretokenizers: [
            ...splitting.expressions.map((Regex) => ({
              type: 'Split',
              pattern: { Regex },
              behavior: 'Isolated',
              invert: false,
            })),
            { type: 'ByteLevel', add_prefix_space: false, use_regex: false },
          ],
        },
        post_processor: null,
        decoder: null,
        added_tokens: [],
      },
      {},
    );
  }

  encode(text: string, special: boolean): number[] {
    const ids: number[] = [];
    for (const fragment of fragments(text, this.#vocabulary.specialTokens, special)) {
      if (typeof fragment === 'number') ids.push(fragment);
      else for (const id of this.#words.encode(fragment, { add_special_tokens: false }).ids) ids.push(id);
    }
    return ids;
  }
}

/** Pairs in order; of equal ones llama.cpp counts the first, the library the last. */
const rankedMerges = (merges: readonly string[]): string[][] =>
  [...new Set(merges)].map((merge) => {
    const space = merge.indexOf(' ', 1);
    return [merge.slice(0, space), merge.slice(space + 1)];
  });
