import type { Plan, PlannedTensor } from './core/plan.ts';
import type { Stage } from './core/result.ts';
import type { CalibrationEvent } from './model-runs.ts';
import { type PlannedRun, planQuantization, type QuantizeOptions } from './planned-run.ts';
import { type Resources, resolveResources } from './resources.ts';
import type { Layout } from './write/gguf.ts';
import { type OutputTargets, resolveTargets } from './write/target.ts';

/** What a run says of itself on its way. */
export type PipelineEvent =
  | { readonly kind: 'stage'; readonly stage: Stage }
  | { readonly kind: 'plan'; readonly plan: Plan; readonly layout: Layout; readonly output: string }
  /** Weights that an earlier run had done, checked against what is on the disk. */
  | { readonly kind: 'resumed'; readonly doneWeights: number; readonly totalWeights: number }
  | {
      readonly kind: 'progress';
      readonly doneWeights: number;
      readonly totalWeights: number;
      readonly tensor: string;
    }
  /** A run over the calibration or evaluation text. */
  | CalibrationEvent
  /** The run failed; these files stay for a run that resumes, and any other run to the same output replaces them. */
  | { readonly kind: 'kept'; readonly paths: readonly string[] };

/** Where a tensor goes: the output file, of those the run makes, and the offset in it. */
export interface Place {
  readonly file: number;
  readonly offset: number;
}

/** A run that is planned: what its later stages share. */
export interface Run extends PlannedRun {
  readonly options: QuantizeOptions;
  readonly resources: Resources;
  readonly target: OutputTargets;
  /** The tensors of the plan that lie in the files of this run, in their order, and the place of each. */
  readonly planned: readonly PlannedTensor[];
  readonly places: readonly Place[];
  onEvent(event: PipelineEvent): void;
}

/**
 * Reads and plans, and decides how the output is written. Nothing is written.
 *
 * @throws UsageError, the errors of planQuantization, and those of resolveTargets
 */
export function planRun(
  options: QuantizeOptions,
  onEvent: (event: PipelineEvent) => void,
  onStage: (stage: Stage) => void,
): Run {
  const resources = resolveResources(options);
  const planned = planQuantization(options, onStage);
  const { plan, layout, output, inputs } = planned;
  const { force = false, resume = false } = options;
  const target = resolveTargets(output, layout, inputs, { force, resume });
  const places = layout.files.flatMap(({ offsets }, file) => offsets.map((offset) => ({ file, offset })));
  const [{ first }] = layout.files;
  const written = plan.tensors.slice(first, first + places.length);
  return { ...planned, options, resources, target, planned: written, places, onEvent };
}
