import type { MetadataEntry } from '../core/metadata.ts';
import { ByteLevel } from './byte-level.ts';
import { ChatTemplate } from './chat-template.ts';
import { SentencePiece } from './sentencepiece.ts';
import { splittingNamed, splittingNames } from './splits.ts';
import { readVocabulary, UnusableTokenizerError, type Vocabulary } from './vocabulary.ts';

/** Text to token ids, the same that llama.cpp gives for the file with this metadata. */
export interface Tokenizer {
  /**
   * Ids of a text, none added around it.
   *
   * @param options special: control tokens in the text, such as <|im_end|>, are taken for themselves, not as text
   */
  encode(text: string, options?: { special?: boolean }): number[];
  /** Id of the token that begins a text, null where there is none. */
  readonly bos: number | null;
  /** Whether the model wants it before a text. */
  readonly addsBos: boolean;
  /** Id of the token that ends a text, null where there is none. */
  readonly eos: number | null;
  /** Whether the model wants it after a text. */
  readonly addsEos: boolean;
  /** Id that stands for characters no token has, null where there is none. */
  readonly unknown: number | null;
  /** How many tokens there are; every id is below. */
  readonly size: number;
  /** Null where the model has none. */
  readonly chat: ChatTemplate | null;
}

/**
 * Opens the tokenizer that a plan's metadata (`tokenizer.*`) describes. A vocabulary of 128k tokens takes about a
 * second; byte-level BPE then reads about 1 MB of text a second.
 *
 * Letters, digits and marks are Unicode's as the running Node has them: characters younger than llama.cpp's tables
 * (Unicode 15) may be cut from their neighbours elsewhere than there.
 *
 * @param file the model, for messages
 * @throws UnusableTokenizerError when there is no tokenizer, or none that this can run
 */
export function openTokenizer(metadata: readonly MetadataEntry[], file: string): Tokenizer {
  const vocabulary = readVocabulary(metadata, file);
  const { kind, tokens, bos, eos, unknown, addsEos, chatTemplate } = vocabulary;
  const { coder, addsBos } =
    kind === 'llama'
      ? { coder: new SentencePiece(vocabulary, file), addsBos: true }
      : byteLevel(vocabulary, file);
  const text = (id: number | null): string => (id === null ? '' : tokens[id]);
  return {
    encode: (input, { special = false } = {}) => coder.encode(input, special),
    bos,
    addsBos: bos !== null && (vocabulary.addsBos ?? addsBos),
    eos,
    addsEos: eos !== null && addsEos,
    unknown,
    size: tokens.length,
    chat: chatTemplate === null ? null : new ChatTemplate(chatTemplate, text(bos), text(eos)),
  };
}

function byteLevel(vocabulary: Vocabulary, file: string): { coder: ByteLevel; addsBos: boolean } {
  const splitting = splittingNamed(vocabulary.pre);
  if (splitting === undefined) {
    throw new UnusableTokenizerError('text cannot be cut into words the way this tokenizer wants', {
      file,
      expected: `tokenizer.ggml.pre: one of ${splittingNames.join(', ')}`,
      got: vocabulary.pre,
      advice: 'calibrate elsewhere and pass the importance matrix by --imatrix',
    });
  }
  return { coder: new ByteLevel(vocabulary, splitting), addsBos: splitting.addsBos };
}
