import type { ActivationRange, ActivationSource } from './activations.ts';
import type { CalibrationFacts, CalibrationTimes, TensorCalibration } from './calibration.ts';
import type { ErrorSums } from './error-sums.ts';
import type { Evaluation } from './evaluation.ts';
import type { Histogram } from './histogram.ts';
import type { Plan, PlannedTensor } from './plan.ts';

/** The stages of a run, in order; the report is made of its result. */
export const stages = ['read', 'plan', 'calibrate', 'quantize', 'write'] as const;
export type Stage = (typeof stages)[number];

/** What became of one tensor of the plan. */
export interface TensorResult {
  readonly tensor: PlannedTensor;
  /** Bytes of the source as stored. */
  readonly bytesBefore: number;
  /** Bytes in the output, alignment aside. */
  readonly bytesAfter: number;
  /** The source as float32 against what the written bytes decode to. */
  readonly sums: ErrorSums;
  /** Set for a tensor that was calibrated. */
  readonly calibration?: TensorCalibration;
  /** Set for a quantized tensor where histograms were asked for. */
  readonly histogram?: Histogram | undefined;
}

/** SHA-256 hashes, in hex, of what went in and what came out. A header is all that lies before the tensors' data. */
export interface RunHashes {
  /** Files of the model by their headers; others, as of importance, as a whole. */
  readonly inputs: readonly {
    readonly name: string;
    readonly bytes: number;
    readonly headerSha256: string | null;
    readonly sha256: string | null;
  }[];
  /** Of the plan's tensors: name, shape, type, coding, place in the input. */
  readonly planSha256: string;
  /** Each file that was written; the hash of the whole file where it was asked for, and is no stream. */
  readonly outputs: readonly {
    readonly bytes: number;
    readonly headerSha256: string;
    readonly sha256: string | null;
  }[];
}

/** What may differ between two runs of the same input and options. */
export interface RunFacts {
  /** ISO 8601, UTC. */
  readonly startedAt: string;
  readonly seconds: Readonly<Record<Stage, number>> & { readonly total: number };
  readonly threads: number;
  readonly kernels: string;
  readonly input: string;
  readonly output: string;
  readonly host: {
    readonly platform: string;
    readonly arch: string;
    /** Model name of the processor, and how many threads this process may run at once. */
    readonly processor: string;
    readonly cpus: number;
    readonly node: string;
    /** Version of this package. */
    readonly version: string;
  };
  /** Where the time of a calibration went; absent without one. */
  readonly calibrationSeconds?: CalibrationTimes;
  readonly peakRssBytes: number;
}

/** A finished run. */
export interface RunResult {
  readonly plan: Plan;
  /** Path of the file that was written, of a split model the first; null when it went to standard output. */
  readonly output: string | null;
  /** Bytes of the whole file, header and alignment included; of all files that were written. */
  readonly fileBytes: number;
  /** Set for a split model: how many files it has, and those that this run wrote. */
  readonly split: {
    readonly count: number;
    readonly parts: readonly {
      readonly number: number;
      readonly tensors: number;
      readonly fileBytes: number;
    }[];
  } | null;
  /** In file order; those in the files that were written. */
  readonly tensors: readonly TensorResult[];
  /** Null for a run without calibration. */
  readonly calibration: CalibrationFacts | null;
  /** Null where none was asked for. */
  readonly evaluation: Evaluation | null;
  /** What kept the file, which is whole, from being evaluated. */
  readonly evaluationError?: unknown;
  /** Set where the ranges of activations were found. */
  readonly activations?: readonly ActivationRange[];
  /** Over which text. Set with `activations`. */
  readonly activationsFrom?: ActivationSource;
  readonly hashes: RunHashes;
  /** What is to be said of the calibration text, one sentence each. */
  readonly textWarnings?: readonly string[];
  readonly run: RunFacts;
}
