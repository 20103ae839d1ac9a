import { join } from 'node:path';
import type { JsonObject, ModelFiles } from '../../core/model-files.ts';
import { asObject } from '../json.ts';
import { addedTokens, namedSpecialTokens } from './added.ts';
import { ownVocabulary, warnLeftOut } from './bpe.ts';
import { padding, TokenizerError, tokenTypes, type Vocabulary } from './types.ts';

/** Score of every token: this form of the vocabulary has none. */
const SCORE = -1000;

/** Whether tokenizer.json holds a SentencePiece-like BPE with byte fallback, as the Llama 2 family's does. */
export function isLlamaBpe(files: ModelFiles, model: JsonObject): boolean {
  return model.byte_fallback === true && asObject(files.tokenizer?.decoder)?.type === 'Sequence';
}

/**
 * Vocabulary of a SentencePiece-like tokenizer.json (`LlamaHfVocab`): the model's own tokens, then added ones.
 * The converter stops at the last token; here, ids up to `rows` are filled with unused padding and those beyond
 * it left out, for llama.cpp refuses a vocabulary that is not as long as the embedding.
 */
export function llamaBpeVocabulary(
  files: ModelFiles,
  model: JsonObject,
  rows: number,
  warn: (sentence: string) => void,
): Vocabulary {
  const { vocabulary, size, end } = ownVocabulary(files, model);
  if (end !== size || size > rows) {
    throw new TokenizerError('the ids of tokenizer.json do not fit the model', {
      file: join(files.directory, 'tokenizer.json'),
      expected: `ids 0 to ${size - 1} without a gap, all below vocab_size ${rows}`,
      got: `ids up to ${end - 1}`,
      advice: 'use the tokenizer this checkpoint was trained with, or correct vocab_size in config.json',
    });
  }
  const tokens = new Array<string | undefined>(rows).fill(undefined);
  const types = new Int32Array(rows).fill(tokenTypes.unused);
  const special = new Set(namedSpecialTokens(files));
  const typeOf = (text: string) =>
    /^<0x[0-9A-Fa-f]{2}>$/.test(text)
      ? tokenTypes.byte
      : special.has(text)
        ? tokenTypes.control
        : tokenTypes.normal;
  for (const text in vocabulary) {
    tokens[vocabulary[text]] = text;
    types[vocabulary[text]] = typeOf(text);
  }
  const left: string[] = [];
  for (const [id, { text }] of addedTokens(files, vocabulary, size)) {
    if (id < size) continue; // one of the model's own
    if (id >= rows) {
      left.push(text);
      continue;
    }
    tokens[id] = text;
    types[id] = special.has(text) ? tokenTypes.control : tokenTypes.userDefined;
  }
  if (left.length > 0) warnLeftOut(left, rows, warn);
  const missing = tokens.filter((text) => text === undefined).length;
  if (missing > 0) warn(`${missing} rows of the embedding have no token and were given unused ones`);
  return {
    tokens: tokens.map((text, id) => text ?? padding(id)),
    types,
    scores: new Float32Array(rows).fill(SCORE),
  };
}
