import type { Checkpoint, StoredTensor } from '../core/checkpoint.ts';
import type { MetadataEntry } from '../core/metadata.ts';
import type { MappedTensor } from '../core/model.ts';
import { dataTypes, type TypeName } from '../core/types.ts';

/** `GGML_MAX_DIMS`. */
const MAX_DIMENSIONS = 4;

/**
 * Weights of no known architecture: tensors keep their names and order, and the metadata says that this is no model.
 */
export function describeWeights(
  checkpoint: Checkpoint,
  name: string,
  fileType: number,
): { metadata: MetadataEntry[]; tensors: MappedTensor[]; warnings: string[] } {
  const warnings: string[] = [];
  const tensors = [...checkpoint.tensors.values()].map((stored): MappedTensor => {
    const shape = ggufShape(stored.shape);
    if (stored.shape.length > MAX_DIMENSIONS) {
      warnings.push(
        `${stored.name}: GGUF holds ${MAX_DIMENSIONS} dimensions, so [${stored.shape.join(', ')}] is written as ` +
          `[${[...shape].reverse().join(', ')}]`,
      );
    }
    if (stored.type === 'U32' || stored.type === 'U64') {
      warnings.push(
        `${stored.name}: ${stored.type} is written as F32, which holds whole numbers up to 2^24 exactly`,
      );
    }
    return {
      name: stored.name,
      shape,
      source: { kind: 'stored', parts: [stored], rows: { kind: 'file' } },
      keep: keptType(stored),
    };
  });
  return {
    metadata: [
      { key: 'general.architecture', type: 'STRING', value: 'unknown' },
      { key: 'general.type', type: 'STRING', value: 'weights' },
      { key: 'general.name', type: 'STRING', value: name },
      {
        key: 'general.description',
        type: 'STRING',
        value: 'Tensors of an unknown architecture under their own names; llama.cpp cannot run this file.',
      },
      { key: 'general.quantization_version', type: 'UINT32', value: 2 },
      { key: 'general.file_type', type: 'UINT32', value: fileType },
    ],
    tensors,
    warnings,
  };
}

/** Fastest axis first; a scalar is a vector of one; slowest axes beyond the fourth are merged. */
function ggufShape(shape: readonly number[]): number[] {
  if (shape.length === 0) return [1];
  const extra = Math.max(0, shape.length - MAX_DIMENSIONS);
  const merged = shape.slice(0, extra + 1).reduce((product, extent) => product * extent, 1);
  return [merged, ...shape.slice(extra + 1)].reverse();
}

/** The type of a tensor that is not quantized: its own, or the smallest of ggml's that holds its values. */
function keptType({ type }: StoredTensor): TypeName {
  if (type === 'F8_E4M3' || type === 'F8_E5M2') return 'F16';
  if (type === 'F64' || dataTypes[type].ggmlId === null) return 'F32';
  return type;
}
