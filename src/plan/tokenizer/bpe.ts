import { join } from 'node:path';
import type { JsonObject, ModelFiles } from '../../core/model-files.ts';
import { asObject } from '../json.ts';
import { addedTokens } from './added.ts';
import { looksSpecial, padding, TokenizerError, tokenTypes, type Vocabulary } from './types.ts';

/** The model part of tokenizer.json, if it is BPE. */
export function bpeModel(files: ModelFiles): JsonObject | null {
  const model = asObject(files.tokenizer?.model);
  // Old files leave the type out; only BPE has merges.
  return model !== null && (model.type === 'BPE' || (model.type === undefined && model.merges !== undefined))
    ? model
    : null;
}

/** Text to id of a BPE model, checked; and one past its largest id. */
export function ownVocabulary(
  files: ModelFiles,
  model: JsonObject,
): { vocabulary: Readonly<Record<string, number>>; size: number; end: number } {
  const file = join(files.directory, 'tokenizer.json');
  const vocabulary = asObject(model.vocab);
  if (vocabulary === null) {
    throw new TokenizerError('tokenizer.json has no vocabulary', {
      file,
      expected: 'model.vocab: text to id',
    });
  }
  let [size, end] = [0, 0];
  for (const text in vocabulary) {
    const id = vocabulary[text];
    if (typeof id !== 'number' || !Number.isInteger(id) || id < 0 || id > 0x7fff_ffff) {
      throw new TokenizerError('a token of tokenizer.json has no usable id', {
        file,
        expected: 'a whole number',
        got: `${JSON.stringify(text)}: ${JSON.stringify(id)}`,
      });
    }
    size++;
    end = Math.max(end, id + 1);
  }
  return { vocabulary: vocabulary as Readonly<Record<string, number>>, size, end };
}

/**
 * Byte-level BPE: tokens and their types, `rows` of them, one for each row of the embedding; ids without a token
 * are unused padding (`get_vocab_base`).
 */
export function bpeVocabulary(
  files: ModelFiles,
  model: JsonObject,
  rows: number,
  warn: (sentence: string) => void,
): Vocabulary {
  const { vocabulary, size, end } = ownVocabulary(files, model);
  if (end > rows) {
    throw new TokenizerError('the tokenizer has more tokens than the model has embeddings', {
      file: join(files.directory, 'tokenizer.json'),
      expected: `ids below vocab_size ${rows}`,
      got: `ids up to ${end - 1}`,
      advice: 'use the tokenizer this checkpoint was trained with, or correct vocab_size in config.json',
    });
  }
  const tokens = new Array<string | undefined>(rows).fill(undefined);
  const types = new Int32Array(rows).fill(tokenTypes.unused);
  for (const text in vocabulary) {
    tokens[vocabulary[text]] = text;
    types[vocabulary[text]] = tokenTypes.normal;
  }
  const left: string[] = [];
  for (const [id, token] of addedTokens(files, vocabulary, size)) {
    if (id >= rows) {
      left.push(token.text);
      continue;
    }
    const text = token.normalized ? token.text : decoded(token.text);
    const isControl = token.special || looksSpecial(text);
    types[id] = isControl ? tokenTypes.control : tokenTypes.userDefined;
    tokens[id] = isControl ? text : text.replaceAll('\u2581', ' ');
  }
  if (left.length > 0) warnLeftOut(left, rows, warn);
  return { tokens: tokens.map((text, id) => text ?? padding(id)), types };
}

export function warnLeftOut(texts: readonly string[], rows: number, warn: (sentence: string) => void): void {
  warn(
    `${texts.length} added tokens beyond the model's ${rows} embeddings were left out: ${texts.slice(0, 5).join(' ')}`,
  );
}

/**
 * What a token becomes when it is encoded and decoded, as the converter does to those that are matched before
 * normalization: text made only of characters that stand for bytes is read as those bytes.
 */
function decoded(text: string): string {
  const bytes: number[] = [];
  for (const character of text) {
    const byte = byteOf.get(character.codePointAt(0)!);
    if (byte === undefined) return text;
    bytes.push(byte);
  }
  return new TextDecoder('utf-8', { ignoreBOM: true }).decode(Uint8Array.from(bytes));
}

/** GPT-2's characters for bytes: printable ones stand for themselves, the others for 256 onwards, in order. */
const byteOf = new Map<number, number>();
for (let byte = 0, next = 256; byte < 256; byte++) {
  const isPrintable =
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff);
  byteOf.set(isPrintable ? byte : next++, byte);
}
