import { closeSync, existsSync, openSync, readFileSync, readSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Checkpoint, StoredTensor } from '../../src/core/checkpoint.ts';
import { fromBfloat16, fromFloat16 } from '../../src/core/float.ts';
import type { MappedTensor } from '../../src/core/model.ts';
import type { JsonObject, ModelFiles } from '../../src/core/model-files.ts';
import type { TypeName } from '../../src/core/types.ts';

export const repository = fileURLToPath(new URL('../..', import.meta.url));

const json = (path: string): JsonObject | null =>
  existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as JsonObject) : null;
const text = (path: string): string | null => (existsSync(path) ? readFileSync(path, 'utf8') : null);

/** A trusted checkpoint directory, read without any of the checks the real reader makes. */
export function openTrusted(directory: string): { checkpoint: Checkpoint; files: ModelFiles } {
  const index = json(join(directory, 'model.safetensors.index.json'));
  const names = index
    ? [...new Set(Object.values(index.weight_map as Record<string, string>))].sort()
    : ['model.safetensors'];
  const tensors = new Map<string, StoredTensor>();
  const paths = names.map((name) => join(directory, name));
  for (const [file, path] of paths.entries()) {
    const bytes = readFileSync(path);
    const length = Number(bytes.readBigUInt64LE(0));
    const header = JSON.parse(bytes.toString('utf8', 8, 8 + length));
    delete header.__metadata__;
    for (const name of Object.keys(header).sort()) {
      const tensor: { dtype: TypeName; shape: number[]; data_offsets: number[] } = header[name];
      const [start, end] = tensor.data_offsets;
      const { dtype: type, shape } = tensor;
      tensors.set(name, { name, type, shape, file, offset: 8 + length + start, byteLength: end - start });
    }
  }
  const modelPath = join(directory, 'tokenizer.model');
  return {
    checkpoint: {
      format: 'safetensors',
      path: directory,
      directory,
      files: paths.map((path) => ({ path, size: statSync(path).size })),
      tensors,
      metadata: [],
    },
    files: {
      directory,
      config: json(join(directory, 'config.json')),
      generationConfig: json(join(directory, 'generation_config.json')),
      tokenizer: json(join(directory, 'tokenizer.json')),
      tokenizerConfig: json(join(directory, 'tokenizer_config.json')),
      specialTokensMap: json(join(directory, 'special_tokens_map.json')),
      addedTokens: json(join(directory, 'added_tokens.json')),
      chatTemplate: text(join(directory, 'chat_template.jinja')),
      tokenizerModel: existsSync(modelPath) ? readFileSync(modelPath) : null,
      readme: text(join(directory, 'README.md'))?.split(/^---$/m)[1] ?? null,
    },
  };
}

/** Values of a mapped tensor as float32, its row order applied: what a file with F32 tensors holds. */
export function valuesOf(checkpoint: Checkpoint, tensor: MappedTensor): Float32Array {
  const { source } = tensor;
  if (source.kind === 'values') return Float32Array.from(source.values);
  const out = new Float32Array(tensor.shape.reduce((product, extent) => product * extent, 1));
  const perPart = out.length / source.parts.length;
  for (const [i, part] of source.parts.entries()) {
    const values = readFloats(checkpoint, part);
    const rows = part.shape[0];
    const width = perPart / rows;
    for (let row = 0; row < rows; row++) {
      let stored = row;
      if (source.rows.kind === 'rotary') {
        const half = rows / source.rows.heads / 2;
        const head = Math.floor(row / (2 * half));
        const within = row % (2 * half);
        stored = head * 2 * half + (within % 2) * half + Math.floor(within / 2);
      }
      out.set(values.subarray(stored * width, (stored + 1) * width), i * perPart + row * width);
    }
  }
  return out;
}

function readFloats(checkpoint: Checkpoint, { type, file, offset, byteLength }: StoredTensor): Float32Array {
  const bytes = new Uint8Array(byteLength);
  const descriptor = openSync(checkpoint.files[file].path, 'r');
  readSync(descriptor, bytes, 0, byteLength, offset);
  closeSync(descriptor);
  if (type === 'F32') return new Float32Array(bytes.buffer);
  const bits = new Uint16Array(bytes.buffer);
  const decode = type === 'BF16' ? fromBfloat16 : fromFloat16;
  const values = new Float32Array(bits.length);
  for (let i = 0; i < bits.length; i++) values[i] = decode(bits[i]);
  return values;
}
