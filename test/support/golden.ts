import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { MetadataEntry } from '../../src/core/metadata.ts';
import { readGguf } from '../../src/read/gguf.ts';
import { repository } from './checkpoints.ts';
import { packItems, packScalar } from './gguf.ts';

/** Tiny checkpoints with what llama.cpp v0.5.0 makes of them; not part of the repository. */
const golden = join(repository, '../shared/golden/visible');

export interface GoldenKey {
  readonly key: string;
  readonly type: string;
  readonly value?: unknown;
  /** Stored bytes of a FLOAT32. */
  readonly hex?: string;
  /** Of an ARRAY: type, number and hash of its items as they lie in the file. */
  readonly elem?: string;
  readonly length?: number;
  readonly sha256?: string;
}

export interface GoldenTensor {
  readonly name: string;
  /** GGUF order. */
  readonly shape: readonly number[];
  readonly type: string;
  readonly sha256: string;
}

/** A file of the official converter. */
export interface GoldenFile {
  readonly kv: readonly GoldenKey[];
  readonly tensors: readonly GoldenTensor[];
  readonly file_sha256: string;
  readonly greedy?: {
    readonly prompt: string;
    readonly prompt_ids: readonly number[];
    readonly ids: readonly number[];
    readonly min_top2_gap: number;
  };
}

/** Files of llama-quantize, by type. */
export interface GoldenQuant {
  readonly types: Readonly<
    Record<string, { file_sha256: string; kv_order: readonly string[]; tensors: readonly GoldenTensor[] }>
  >;
}

export interface GoldenModel {
  readonly name: string;
  readonly there: boolean;
  /** Directory of the checkpoint. */
  readonly checkpoint: string;
  /** Names of its golden files; golden.json alone where they are not there, for tests to be skipped by name. */
  readonly files: readonly string[];
  read<T>(file: string): T;
}

/** The conversions of the architectures that this version knows. */
export const goldenModels: readonly GoldenModel[] = [
  'llama_256',
  'llama_spm_f16',
  'llama3_tied',
  'mistral',
  'mixtral_256',
  'qwen2',
  'qwen3',
].map((name) => {
  const directory = join(golden, name);
  const there = existsSync(directory);
  return {
    name,
    there,
    checkpoint: join(directory, 'checkpoint'),
    files: there ? readdirSync(directory).filter((file) => file.endsWith('.json')) : ['golden.json'],
    read: (file) => JSON.parse(readFileSync(join(directory, file), 'utf8')),
  };
});

export const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** What a GGUF file holds, in the form of the golden files. */
export function summaryOf(path: string): { kv: GoldenKey[]; tensors: GoldenTensor[]; file_sha256: string } {
  const bytes = readFileSync(path);
  const { metadata, tensors } = readGguf(path);
  return {
    kv: metadata.map(summaryOfEntry),
    tensors: tensors.map(({ name, shape, type, offset, byteLength }) => ({
      name,
      shape: [...shape].reverse(),
      type,
      sha256: sha256(bytes.subarray(offset, offset + byteLength)),
    })),
    file_sha256: sha256(bytes),
  };
}

/** An entry in the form of the golden files. */
export function summaryOfEntry(entry: MetadataEntry): GoldenKey {
  const { key, type } = entry;
  if (type === 'ARRAY') {
    const { elementType, value } = entry;
    return { key, type, elem: elementType, length: value.length, sha256: sha256(packItems(entry)) };
  }
  if (type !== 'FLOAT32') return { key, type, value: entry.value };
  return {
    key,
    type,
    value: Math.fround(entry.value as number),
    hex: packScalar(type, entry.value).toString('hex'),
  };
}

/**
 * The first thing in which a file is not the golden one, as a sentence: a key, a tensor, or bytes that belong to
 * neither. Null when the two are equal. `kv` may hold keys alone, where nothing more is known of the values.
 */
export function firstDifference(
  got: { kv: readonly GoldenKey[]; tensors: readonly GoldenTensor[]; file_sha256: string },
  expected: {
    kv: readonly (GoldenKey | { key: string })[];
    tensors: readonly GoldenTensor[];
    file_sha256: string;
  },
): string | null {
  if (got.file_sha256 === expected.file_sha256) return null;
  const parts = [
    ['metadata key', got.kv, expected.kv],
    ['tensor', got.tensors, expected.tensors],
  ] as const;
  for (const [what, ours, theirs] of parts) {
    for (let i = 0; i < Math.max(ours.length, theirs.length); i++) {
      const wanted: object | undefined = theirs[i];
      const found = wanted && ours[i] && { ...pick(ours[i], Object.keys(wanted)) };
      const [a, b] = [text(found), text(wanted && pick(wanted, compared))];
      if (a !== b) return `${what} ${i}: ${a}\n  instead of ${b}`;
    }
  }
  return 'all keys and tensors are equal, but not the bytes of the file';
}

/** Fields that count: `soft` says how certain a value is, `first` repeats a part of it. */
const compared = ['key', 'name', 'type', 'elem', 'shape', 'length', 'value', 'hex', 'sha256'];
const pick = (object: object, keys: readonly string[]): object =>
  Object.fromEntries(
    compared.filter((key) => keys.includes(key)).map((key) => [key, (object as never)[key]]),
  );
const text = (value: object | undefined): string => (value === undefined ? 'nothing' : JSON.stringify(value));
