import { writeFileSync } from 'node:fs';
import type { MetadataEntry } from '../../src/core/metadata.ts';
import type { PlannedTensor } from '../../src/core/plan.ts';
import { planQuantization } from '../../src/pipeline.ts';
import { valuesOf } from './checkpoints.ts';
import { packGguf } from './gguf.ts';

/** Two halves of a plan that a test may spoil. */
export interface Alterable {
  readonly metadata: readonly MetadataEntry[];
  readonly tensors: readonly PlannedTensor[];
}

/**
 * Writes the F32 file of a model with its plan altered, through a reader and a writer that are not ours: what a
 * mistake of the plan would give.
 */
export function writeAltered(path: string, input: string, alter: (plan: Alterable) => Alterable): void {
  const { plan } = planQuantization({ input, type: 'F32' });
  const { metadata, tensors } = alter(plan);
  const written = tensors.map(({ name, shape, source }) => {
    if (source.kind === 'row-range') throw new Error(`${name} has no values of its own`);
    const values = valuesOf(plan.checkpoint, { name, shape, source, keep: 'F32' });
    return { name, shape, type: 'F32' as const, values };
  });
  writeFileSync(path, packGguf(metadata, written));
}

/** With the value of one key replaced. */
export function withKey(
  plan: Alterable,
  key: string,
  value: (old: MetadataEntry['value']) => unknown,
): Alterable {
  if (!plan.metadata.some((entry) => entry.key === key)) throw new Error(`the plan has no ${key}`);
  const replace = (entry: MetadataEntry): MetadataEntry =>
    entry.key === key ? ({ ...entry, value: value(entry.value) } as MetadataEntry) : entry;
  return { ...plan, metadata: plan.metadata.map(replace) };
}

/** With items i and j of an array exchanged. */
export const withSwapped = (plan: Alterable, key: string, i: number, j: number): Alterable =>
  withKey(plan, key, (old) => {
    const items = Array.from(old as ArrayLike<unknown>);
    [items[i], items[j]] = [items[j], items[i]];
    return items;
  });
