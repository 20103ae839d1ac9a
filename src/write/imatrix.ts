import type { CollectedImportance } from '../core/calibration.ts';
import type { MetadataEntry } from '../core/metadata.ts';
import { layOutFile } from './gguf.ts';

/** What an importance matrix says of its making. */
export interface ImatrixFacts {
  /** Names of the texts. */
  readonly datasets: readonly string[];
  /** Windows of text. */
  readonly chunks: number;
  /** Tokens in a window. */
  readonly chunkSize: number;
}

/** Keys in llama-imatrix's order. */
export const imatrixKeys = ({ datasets, chunks, chunkSize }: ImatrixFacts): MetadataEntry[] => [
  { key: 'general.type', type: 'STRING', value: 'imatrix' },
  { key: 'imatrix.datasets', type: 'ARRAY', elementType: 'STRING', value: datasets },
  { key: 'imatrix.chunk_count', type: 'UINT32', value: chunks },
  { key: 'imatrix.chunk_size', type: 'UINT32', value: chunkSize },
];

/** One tensor of the file. */
export interface ImatrixTensor {
  readonly name: string;
  /** GGUF order. */
  readonly shape: readonly number[];
  readonly type: 'F32';
  /** Little-endian. */
  readonly data: Uint8Array;
}

/**
 * `<name>.in_sum2` [columns, experts] and `<name>.counts` [1, experts] of each entry, in the order of their names' bytes.
 * ggml drops the second axis where it is 1.
 */
export const imatrixTensors = (entries: readonly CollectedImportance[]): ImatrixTensor[] =>
  entries
    .toSorted((a, b) => Buffer.compare(Buffer.from(a.name), Buffer.from(b.name)))
    .flatMap(({ name, sums, counts }) => [
      {
        name: `${name}.in_sum2`,
        type: 'F32' as const,
        shape: withExperts(sums.length / counts.length, counts.length),
        data: floats(sums),
      },
      {
        name: `${name}.counts`,
        type: 'F32' as const,
        shape: withExperts(1, counts.length),
        data: floats(counts),
      },
    ]);

/**
 * An importance matrix as a GGUF file, laid out as llama-imatrix of llama.cpp v0.5.0 writes it
 * (`IMatrixCollector::save_imatrix`).
 */
export function imatrixFile(entries: readonly CollectedImportance[], facts: ImatrixFacts): Uint8Array {
  const tensors = imatrixTensors(entries);
  const { header, offsets, fileBytes } = layOutFile(imatrixKeys(facts), tensors);
  const file = new Uint8Array(fileBytes);
  file.set(header);
  tensors.forEach(({ data }, i) => {
    file.set(data, offsets[i]);
  });
  return file;
}

const withExperts = (extent: number, experts: number): number[] =>
  experts === 1 ? [extent] : [extent, experts];

function floats(values: ArrayLike<number>): Uint8Array {
  const bytes = new Uint8Array(4 * values.length);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < values.length; i++) view.setFloat32(4 * i, values[i], true);
  return bytes;
}
