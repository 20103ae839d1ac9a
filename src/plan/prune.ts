import { UsageError } from '../core/errors.ts';
import type { MetadataEntry } from '../core/metadata.ts';
import type { MappedTensor } from '../core/model.ts';

/** Where a tensor's name has its layer, first match wins. */
const LAYER = /blk\.(\d+)\./;

export interface PrunedTensors {
  /** In the same order, the layers left numbered anew. */
  readonly tensors: readonly MappedTensor[];
  /** For `block_count`: one more than the highest layer left. */
  readonly layers: number;
}

/**
 * Leaves layers out, as llama-quantize's `--prune-layers`: those below the first one left out keep their numbers, the
 * others close up. Each tensor keeps its old name as `unprunedName`.
 *
 * @throws UsageError for a layer that the model does not have, or when none would be left.
 */
export function pruneLayers(tensors: readonly MappedTensor[], pruned: readonly number[]): PrunedTensors {
  const present = new Set<number>();
  for (const { name } of tensors) {
    const layer = layerOf(name);
    if (layer !== null) present.add(layer);
  }
  const missing = pruned.filter((layer) => !present.has(layer));
  if (missing.length > 0) {
    throw new UsageError(`--prune-layers: the model has no layer ${missing.join(', ')}`, {
      expected: present.size === 0 ? 'a model with layers' : `layers ${ranges(present)}`,
    });
  }

  const left = new Map<number, number>(); // old number -> new
  const first = Math.min(...pruned);
  let next = 0;
  for (const layer of [...present].sort((a, b) => a - b)) {
    if (pruned.includes(layer)) continue;
    const number = layer < first ? layer : next;
    left.set(layer, number);
    next = number + 1;
  }
  if (left.size === 0) throw new UsageError('--prune-layers would leave no layer');

  return {
    layers: next,
    tensors: tensors.flatMap((tensor) => {
      const layer = layerOf(tensor.name);
      if (layer === null) return [tensor];
      const number = left.get(layer);
      if (number === undefined) return [];
      const name = tensor.name.replace(LAYER, `blk.${number}.`);
      return [{ ...tensor, name, unprunedName: tensor.name }];
    }),
  };
}

function layerOf(name: string): number | null {
  const match = LAYER.exec(name);
  return match === null ? null : Number(match[1]);
}

/** "0-3, 5". */
function ranges(numbers: ReadonlySet<number>): string {
  const runs: [number, number][] = [];
  for (const number of [...numbers].sort((a, b) => a - b)) {
    const run = runs.at(-1);
    if (run !== undefined && run[1] === number - 1) run[1] = number;
    else runs.push([number, number]);
  }
  return runs.map(([a, b]) => (a === b ? `${a}` : `${a}-${b}`)).join(', ');
}

/** One sentence for each key that may hold a value for each layer, which llama-quantize carries over whole. */
export function pruneWarnings(
  metadata: readonly MetadataEntry[],
  architecture: string,
  layers: number,
): string[] {
  return metadata
    .filter(
      (entry) =>
        entry.type === 'ARRAY' && entry.key.startsWith(`${architecture}.`) && entry.value.length === layers,
    )
    .map(({ key }) => `${key} has ${layers} values, perhaps one for each layer, and is carried over whole`);
}
