/**
 * The library: what the command line is made of. `quantizeCheckpoint` is the main job, `planQuantization` its plan
 * without any work, `openCheckpoint` the reader, `buildReport` the report. `collectImportance`, `collectActivations` and
 * `evaluateModel` run a model over a text; `imatrixFile` and `statisticsFile` make files of what the first two find. Everything
 * else is internal.
 */
import { type DataType, dataTypes } from './core/types.ts';

export type {
  ActivationGroup,
  ActivationRun,
  ActivationScheme,
  ActivationStatistics,
} from './core/activations.ts';
export type {
  CalibrationFacts,
  CollectedImportance,
  ImportanceRun,
  TensorCalibration,
} from './core/calibration.ts';
export type { Checkpoint, CheckpointFile, StoredTensor } from './core/checkpoint.ts';
export type { ErrorSums } from './core/error-sums.ts';
export { type ErrorDetails, QuantizeError, UsageError } from './core/errors.ts';
export type { Evaluation, EvaluationRun } from './core/evaluation.ts';
export type { MetadataEntry } from './core/metadata.ts';
export type { Plan, PlannedTensor } from './core/plan.ts';
export type { RunFacts, RunResult, Stage, TensorResult } from './core/result.ts';
export { bitsPerWeight, bytesOf, type DataType, type TypeName } from './core/types.ts';
export {
  type ActivationOptions,
  type CalibrationEvent,
  collectActivations,
  collectImportance,
  type EvaluationOptions,
  evaluate as evaluateModel,
  type ImportanceOptions,
} from './model-runs.ts';
export {
  type PipelineEvent,
  type PlannedRun,
  planQuantization,
  type QuantizeOptions,
  quantize as quantizeCheckpoint,
} from './pipeline.ts';
export { openCheckpoint } from './read/checkpoint.ts';
export { buildReport, type Report } from './report/report.ts';
export { statisticsFile } from './write/activation-statistics.ts';
export { type ImatrixFacts, imatrixFile } from './write/imatrix.ts';

/** The types a GGUF file can hold, by name: number in the file, values in a block, bytes of a block. */
export const ggmlTypes: Readonly<Record<string, DataType>> = Object.fromEntries(
  Object.entries(dataTypes).filter(([, { ggmlId }]) => ggmlId !== null),
);
