import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { MetadataEntry } from '../../src/core/metadata.ts';
import { describeModel } from '../../src/plan/model.ts';
import type { FloatType } from '../../src/plan/tensors.ts';
import { openTrusted, repository, valuesOf } from '../support/checkpoints.ts';
import { packGguf, packItems, packScalar, packTensor } from '../support/gguf.ts';

/** Tiny checkpoints with what the official converter makes of them; not part of the repository. */
const golden = join(repository, '../shared/golden/visible');
const names = ['llama_256', 'llama_spm_f16', 'llama3_tied', 'mistral', 'mixtral_256', 'qwen2', 'qwen3'];

interface GoldenFile {
  kv: {
    key: string;
    type: string;
    value?: unknown;
    elem?: string;
    length?: number;
    sha256?: string;
    hex?: string;
  }[];
  tensors: { name: string; shape: number[]; type: FloatType; sha256: string }[];
  file_sha256: string;
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** An entry in the form of the golden file. */
function summary(entry: MetadataEntry) {
  const { key, type } = entry;
  if (type !== 'ARRAY') {
    const hex = type === 'FLOAT32' ? { hex: packScalar(type, entry.value).toString('hex') } : {};
    return {
      key,
      type,
      value: type === 'FLOAT32' ? Math.fround(entry.value as number) : entry.value,
      ...hex,
    };
  }
  return { key, type, elem: entry.elementType, length: entry.value.length, sha256: sha256(packItems(entry)) };
}

for (const name of names) {
  const directory = join(golden, name);
  describe.skipIf(!existsSync(directory))(`golden conversion of ${name}`, () => {
    const files = existsSync(directory) ? readdirSync(directory) : ['golden.json'];
    for (const file of files.filter((one) => /^golden(-f16|-bf16|-auto)?\.json$/.test(one))) {
      it(file, () => {
        const expected = JSON.parse(readFileSync(join(directory, file), 'utf8')) as GoldenFile;
        const fileType = expected.kv.find(({ key }) => key === 'general.file_type')!.value as number;
        const outtype = /-(f16|bf16|auto)/.exec(file)?.[1] ?? 'f32';
        const { checkpoint, files } = openTrusted(join(directory, 'checkpoint'));
        const model = describeModel(checkpoint, files, {
          fileType,
          ...(outtype === 'auto' ? {} : { keepFloat: outtype.toUpperCase() as FloatType }),
        })!;

        const wanted = expected.kv.map(({ soft: _, first: __, ...entry }: Record<string, unknown>) => entry);
        expect(model.metadata.map(summary)).toEqual(wanted);

        const tensors = model.tensors.map((tensor) => ({
          name: tensor.name,
          shape: tensor.shape,
          type: tensor.keep as FloatType,
          values: valuesOf(checkpoint, tensor),
        }));
        expect(
          tensors.map((tensor) => ({
            name: tensor.name,
            shape: tensor.shape,
            type: tensor.type,
            sha256: sha256(packTensor(tensor)),
          })),
        ).toEqual(expected.tensors);
        expect(sha256(packGguf(model.metadata, tensors))).toBe(expected.file_sha256);
      });
    }
  });
}
