import { QuantizeError } from '../core/errors.ts';
import type { JsonObject, JsonValue } from '../core/model-files.ts';
import type { TextReader } from './text-files.ts';
import type { Tokenizer } from './tokenizer.ts';

/** A line of a JSONL file is not a JSON object, or lacks the field that is asked for. */
export class CalibrationLineError extends QuantizeError {}

/** Bytes from `start` to `end` of an open file, moved to where lines or words begin. */
export interface Part {
  readonly reader: TextReader;
  readonly start: number;
  readonly end: number;
}

/**
 * Token ids of each document in a part of a file: the part itself, or of JSONL each line that begins in it. BOS and EOS
 * stand around a document where the model adds them. White space alone is no document.
 *
 * @param field of a JSON line: text, or a list of messages; null: "text", or else "messages"
 */
export function* documents(
  { reader, start, end }: Part,
  tokenizer: Tokenizer,
  field: string | null,
): Generator<number[]> {
  if (!reader.file.isJsonLines) {
    const text = reader.text(start, end);
    if (text.trim() !== '') yield framed(tokenizer.encode(text), tokenizer);
    return;
  }
  for (const { text, offset } of reader.lines(start, end)) {
    if (text.trim() === '') continue;
    const ids = idsOfLine(text, () => `${reader.file.path}:${reader.lineNumber(offset)}`, tokenizer, field);
    if (ids.length > 0) yield framed(ids, tokenizer);
  }
}

/** A chat template may have written BOS and EOS itself. */
function framed(ids: number[], { bos, addsBos, eos, addsEos }: Tokenizer): number[] {
  if (addsBos && bos !== null && ids[0] !== bos) ids.unshift(bos);
  if (addsEos && eos !== null && ids.at(-1) !== eos) ids.push(eos);
  return ids;
}

function idsOfLine(line: string, where: () => string, tokenizer: Tokenizer, field: string | null): number[] {
  const object = parse(line, where);
  const value = field !== null ? object[field] : (object.text ?? object.messages);
  if (typeof value === 'string') {
    // JSON can hold lone surrogates, UTF-8 cannot.
    const text = Buffer.from(value).toString();
    return text.trim() === '' ? [] : tokenizer.encode(text);
  }
  if (!Array.isArray(value)) {
    const fields = Object.keys(object);
    throw new CalibrationLineError('a line of the calibration file has no text', {
      file: where(),
      expected: field === null ? 'a text in "text", or a list in "messages"' : `a text or list in "${field}"`,
      got: fields.length === 0 ? 'no fields' : `fields ${fields.slice(0, 10).join(', ')}`,
      advice: 'name the field that holds the text by --calibration-field',
    });
  }
  if (tokenizer.chat === null) {
    throw new CalibrationLineError('the model has no chat template, so chat messages cannot become text', {
      file: where(),
      expected: 'tokenizer.chat_template (chat_template of tokenizer_config.json, or chat_template.jinja)',
      got: 'none',
      advice: 'give text in a field "text", or put the template its author published beside the model',
    });
  }
  const text = tokenizer.chat.render(value as readonly JsonValue[], { tools: object.tools }, where());
  return tokenizer.encode(Buffer.from(text).toString(), { special: true });
}

function parse(line: string, where: () => string): JsonObject {
  let value: JsonValue;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    throw new CalibrationLineError('a line of the calibration file is not JSON', {
      file: where(),
      expected: 'a JSON object on each line',
      got: cause instanceof Error ? cause.message : String(cause),
      advice: 'correct the line; plain text belongs into a .txt file',
      cause,
    });
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as JsonObject;
  throw new CalibrationLineError('a line of the calibration file is not a JSON object', {
    file: where(),
    expected: 'an object such as {"text": "..."}',
    got: JSON.stringify(value).slice(0, 60),
    advice: 'put each text into a field',
  });
}
