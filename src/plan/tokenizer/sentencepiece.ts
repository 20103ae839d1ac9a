import { join } from 'node:path';
import type { ModelFiles } from '../../core/model-files.ts';
import { asInteger, asObject, tokenText } from '../json.ts';
import { protobufFields } from './protobuf.ts';
import { looksSpecial, padding, TokenizerError, tokenTypes, type Vocabulary } from './types.ts';

export interface SentencePiece {
  readonly text: string;
  readonly score: number;
  /** As in sentencepiece_model.proto, whose numbers GGUF's token types repeat; 4 is a user-defined piece. */
  readonly type: number;
}

export interface SentencePieceModel {
  readonly pieces: readonly SentencePiece[];
  /** 1 unigram, 2 BPE, 3 word, 4 character. */
  readonly modelType: number;
  /** Whether a space is put before the text. */
  readonly addsDummyPrefix: boolean;
}

/** Score of padding and of tokens from other files. */
const PADDING_SCORE = -10_000;
const ADDED_SCORE = -1000;

/** Whether tokenizer.model is a list of base64 tokens and ranks (tiktoken), which some Llama 3 copies have. */
export const isTiktoken = (bytes: Uint8Array): boolean =>
  /^[A-Za-z0-9+/]+={0,2} \d+\r?\n/.test(Buffer.from(bytes.subarray(0, 200)).toString('latin1'));

/**
 * Reads the parts of a SentencePiece `ModelProto` that a GGUF file needs (sentencepiece_model.proto): 1 pieces
 * (1 text, 2 score, 3 type), 2 trainer_spec (3 model_type), 3 normalizer_spec (3 add_dummy_prefix).
 *
 * @throws TokenizerError when the message is damaged, empty, or a piece is no UTF-8
 */
export function readSentencePiece(bytes: Uint8Array, file: string): SentencePieceModel {
  const pieces: SentencePiece[] = [];
  let modelType = 1;
  let addsDummyPrefix = true;
  for (const field of protobufFields(bytes, file)) {
    if (field.wireType !== 2) continue;
    if (field.number === 1) {
      pieces.push(readPiece(field.bytes, pieces.length, file));
    } else if (field.number === 2) {
      for (const { number, wireType, varint } of protobufFields(field.bytes, file)) {
        if (number === 3 && wireType === 0) modelType = Number(varint);
      }
    } else if (field.number === 3) {
      for (const { number, wireType, varint } of protobufFields(field.bytes, file)) {
        if (number === 3 && wireType === 0) addsDummyPrefix = varint !== 0n;
      }
    }
  }
  if (pieces.length === 0) {
    throw new TokenizerError('tokenizer.model has no pieces', { file, advice: 'download the file again' });
  }
  return { pieces, modelType, addsDummyPrefix };
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function readPiece(message: Uint8Array, id: number, file: string): SentencePiece {
  let [text, score, type]: [string, number, number] = ['', 0, tokenTypes.normal];
  for (const { number, wireType, varint, bytes } of protobufFields(message, file)) {
    if (number === 1 && wireType === 2) {
      try {
        text = utf8.decode(bytes);
      } catch (cause) {
        throw new TokenizerError(`piece ${id} of tokenizer.model is not valid UTF-8`, { file, cause });
      }
    } else if (number === 2 && wireType === 5) {
      score = new DataView(bytes.buffer, bytes.byteOffset, 4).getFloat32(0, true);
    } else if (number === 3 && wireType === 0) {
      type = Number(varint);
    }
  }
  if (type < 1 || type > 6) {
    throw new TokenizerError(`piece ${id} of tokenizer.model has a type that SentencePiece does not have`, {
      file,
      expected: '1 to 6',
      got: `${type} (${JSON.stringify(text)})`,
    });
  }
  return { text, score, type };
}

/**
 * Vocabulary of tokenizer.model with the tokens of added_tokens.json and tokenizer_config.json laid over it, `rows`
 * long (`_create_vocab_sentencepiece`).
 */
export function sentencePieceVocabulary(
  files: ModelFiles,
  model: SentencePieceModel,
  rows: number,
  warn: (sentence: string) => void,
): Vocabulary {
  const tokens = Array.from({ length: rows }, (_, id) => padding(id));
  const scores = new Float32Array(rows).fill(PADDING_SCORE);
  const types = new Int32Array(rows).fill(tokenTypes.unused);
  let left = Math.max(0, model.pieces.length - rows);
  for (const [id, piece] of model.pieces.slice(0, rows).entries()) {
    tokens[id] = piece.text;
    scores[id] = piece.score;
    types[id] = piece.type === tokenTypes.userDefined ? tokenTypes.normal : piece.type;
  }
  const lay = (id: number, text: string, type: number) => {
    if (!(id >= 0 && id < rows)) {
      left++;
      return;
    }
    tokens[id] = text;
    scores[id] = ADDED_SCORE;
    types[id] = type;
  };
  for (const [text, id] of Object.entries(files.addedTokens ?? {})) {
    lay(asInteger(id) ?? -1, text, tokenTypes.userDefined);
  }
  const listed = asObject(files.tokenizerConfig?.added_tokens_decoder) ?? {};
  for (const [id, token] of Object.entries(listed)) {
    const text = tokenText(token);
    if (text === null) {
      throw new TokenizerError('a token of added_tokens_decoder has no content', {
        file: join(files.directory, 'tokenizer_config.json'),
        got: `${id}: ${JSON.stringify(token).slice(0, 80)}`,
      });
    }
    const isControl = asObject(token)?.special === true || looksSpecial(text);
    lay(
      Number(id),
      isControl ? text : text.replaceAll('\u2581', ' '),
      isControl ? tokenTypes.control : tokenTypes.userDefined,
    );
  }
  if (left > 0) warn(`${left} tokens beyond the model's ${rows} embeddings were left out`);
  return { tokens, scores, types };
}
