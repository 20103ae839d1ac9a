import { statSync } from 'node:fs';
import { gguf } from '@huggingface/gguf';
import { describe, expect, it } from 'vitest';
import { metadataTypes } from '../../src/core/metadata.ts';
import { dataTypes } from '../../src/core/types.ts';
import type { QuantizeOptions } from '../../src/pipeline.ts';
import { layOutFile } from '../../src/write/gguf.ts';
import { conversions, sotu } from '../support/conversions.ts';
import { goldenModels } from '../support/golden.ts';

/** What was planned is what Hugging Face's GGUF reader finds in the file. */

const inputs = [
  { name: 'sotu-3m', there: true, checkpoint: sotu },
  ...goldenModels.filter(({ name }) => name === 'mixtral_256' || name === 'llama_spm_f16'),
];
const schemes: Partial<QuantizeOptions>[] = [
  { type: 'F16' },
  { type: 'Q4_K_M' },
  { type: 'IQ4_XS' },
  { method: 'zero-point', bits: 8 },
];

describe.each(inputs)('$name as Hugging Face reads it', ({ there, checkpoint }) => {
  const convert = conversions(checkpoint);

  it.skipIf(!there).each(schemes)('%j', async (scheme) => {
    const { path, result } = await convert(scheme);
    const { metadata, tensors } = result.plan;
    const read = await gguf(path, { allowLocalFile: true, typedMetadata: true });

    const { version, tensor_count, kv_count, ...typed } = read.typedMetadata;
    expect([version.value, Number(tensor_count.value), Number(kv_count.value)]).toEqual([
      3,
      tensors.length,
      metadata.length,
    ]);
    expect(
      Object.entries(typed as Record<string, { type: number; subType?: number; value: unknown }>).map(
        ([key, { type, subType, value }]) => [key, type, Array.isArray(value) ? [subType, value] : value],
      ),
    ).toEqual(
      metadata.map((entry) => [
        entry.key,
        metadataTypes[entry.type],
        entry.type === 'ARRAY'
          ? [metadataTypes[entry.elementType], Array.from(entry.value, stored(entry.elementType))]
          : stored(entry.type)(entry.value),
      ]),
    );

    const layout = layOutFile(metadata, tensors);
    expect(Number(read.tensorDataOffset)).toBe(layout.header.length);
    expect(statSync(path).size).toBe(layout.fileBytes);
    expect(
      read.tensorInfos.map(({ name, dtype, shape, offset }) => ({
        name,
        type: dtype,
        shape: shape.map(Number),
        offset: Number(offset) + Number(read.tensorDataOffset),
      })),
    ).toEqual(
      tensors.map(({ name, type, shape }, i) => ({
        name,
        type: dataTypes[type].ggmlId,
        shape,
        offset: layout.offsets[i],
      })),
    );
  });
});

/** A value as that reader gives it: floats as stored, text without a byte order mark in front (TextDecoder's way). */
const stored = (type: string) => (value: unknown) => {
  if (type === 'FLOAT32') return Math.fround(value as number);
  return type === 'STRING' ? (value as string).replace(/^\ufeff/, '') : value;
};
