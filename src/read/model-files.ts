import { isUtf8 } from 'node:buffer';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { QuantizeError } from '../core/errors.ts';
import type { JsonObject, JsonValue, ModelFiles } from '../core/model-files.ts';
import { accessError, FileTooLargeError, withSource } from './byte-source.ts';

/** A text file beside the weights is not UTF-8. */
export class ModelFileEncodingError extends QuantizeError {}

/** A file beside the weights is not JSON. */
export class ModelFileJsonError extends QuantizeError {}

/** A file beside the weights is JSON, but not of the form it must have. */
export class ModelFileContentError extends QuantizeError {}

/** Largest configuration or template file in bytes. */
const MAX_CONFIG = 16 * 2 ** 20;
/** Largest tokenizer in bytes: those of 256k tokens take up to 35 MB. */
const MAX_TOKENIZER = 256 * 2 ** 20;

/** Reads what stands beside a model's weights. Every file is optional; one that is there must be sound. */
export function readModelFiles(directory: string): ModelFiles {
  const names = listFiles(directory);
  const bytes = (name: string, limit: number): Buffer | null =>
    names.has(name) ? readLimited(join(directory, name), limit) : null;
  // Only the text outlives this call: of a large tokenizer, bytes, text and objects at once would be three copies.
  const text = (name: string, limit = MAX_CONFIG): string | null =>
    decode(bytes(name, limit), join(directory, name));
  const object = (name: string, limit = MAX_CONFIG): JsonObject | null =>
    parseObject(text(name, limit), join(directory, name));
  const readme = bytes('README.md', MAX_CONFIG);
  return {
    directory,
    config: object('config.json'),
    generationConfig: object('generation_config.json'),
    tokenizer: object('tokenizer.json', MAX_TOKENIZER),
    tokenizerConfig: object('tokenizer_config.json', MAX_TOKENIZER),
    specialTokensMap: object('special_tokens_map.json'),
    addedTokens: object('added_tokens.json', MAX_TOKENIZER),
    chatTemplate:
      text('chat_template.jinja')?.replace(/\r\n?/g, '\n') ??
      templateOf(object('chat_template.json'), join(directory, 'chat_template.json')),
    tokenizerModel: bytes('tokenizer.model', MAX_TOKENIZER),
    readme: readme === null ? null : frontMatter(readme.toString('utf8')),
  };
}

const MODEL_FILES: ReadonlySet<string> = new Set([
  'config.json',
  'generation_config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
  'chat_template.jinja',
  'chat_template.json',
  'tokenizer.model',
  'README.md',
]);

/** The files that make a directory a model, its weights aside: those `readModelFiles` reads, and indices of shards. */
export const modelFilePaths = (directory: string): string[] =>
  [...listFiles(directory)]
    .filter((name) => MODEL_FILES.has(name) || name.endsWith('.safetensors.index.json'))
    .map((name) => join(directory, name));

function listFiles(directory: string): ReadonlySet<string> {
  try {
    return new Set(readdirSync(directory));
  } catch (cause) {
    throw accessError(directory, cause);
  }
}

function readLimited(path: string, limit: number): Buffer {
  return withSource(path, (source) => {
    if (source.size > limit) {
      throw new FileTooLargeError('a file beside the weights is too large', {
        file: path,
        expected: `at most ${limit} bytes`,
        got: `${source.size} bytes`,
      });
    }
    return source.read(0, source.size);
  });
}

function decode(bytes: Buffer | null, file: string): string | null {
  if (bytes === null) return null;
  const text = bytes.toString('utf8');
  if (text.includes('\ufffd') && !isUtf8(bytes)) {
    throw new ModelFileEncodingError('a file beside the weights is not UTF-8 text', {
      file,
      expected: 'UTF-8',
      advice: 'download the file again',
    });
  }
  return text;
}

function parseObject(text: string | null, file: string): JsonObject | null {
  if (text === null) return null;
  const value = parseJson(withoutByteOrderMark(text), file);
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as JsonObject;
  throw new ModelFileContentError('a file beside the weights does not hold a JSON object', {
    file,
    expected: 'an object',
    got: Array.isArray(value) ? 'an array' : JSON.stringify(value).slice(0, 100),
  });
}

function parseJson(text: string, file: string): JsonValue {
  try {
    return JSON.parse(text) as JsonValue;
  } catch (cause) {
    // Python writes NaN and Infinity (`time_step_limit` of Mamba models), which JSON does not have. Read them as null.
    const standard = text.replace(/"(?:[^"\\]|\\.)*"|-?\b(?:NaN|Infinity)\b/g, (match) =>
      match.startsWith('"') ? match : 'null',
    );
    try {
      return JSON.parse(standard) as JsonValue;
    } catch {
      throw new ModelFileJsonError('a file beside the weights is not valid JSON', {
        file,
        expected: 'JSON',
        got: cause instanceof Error ? cause.message : String(cause),
        advice: 'download the file again',
        cause,
      });
    }
  }
}

function templateOf(holder: JsonObject | null, file: string): string | null {
  const template = holder?.chat_template ?? null;
  if (template === null || typeof template === 'string') return template;
  throw new ModelFileContentError('the chat template is not text', {
    file,
    expected: 'a string "chat_template"',
    got: typeof template,
    advice: 'remove the file, or put one template into chat_template.jinja',
  });
}

/** As `Metadata.load_model_card` of gguf-py finds it: from a first line `---` to the next, or to the end. */
function frontMatter(text: string): string | null {
  const lines = withoutByteOrderMark(text).split(/\r\n|\n|\r/);
  if (lines[0] !== '---') return null;
  const end = lines.indexOf('---', 1);
  return `${lines.slice(1, end < 0 ? undefined : end).join('\n')}\n`;
}

const withoutByteOrderMark = (text: string): string => (text.startsWith('\ufeff') ? text.slice(1) : text);
