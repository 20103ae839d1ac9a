/** How the code of each weight is chosen: the nearest one, or GPTQ's, which makes up for the errors before it. */
export const roundings = ['gptq', 'nearest'] as const;
export type Rounding = (typeof roundings)[number];

/**
 * Statistics of a tensor's inputs: the Hessian X^T X of all pairs of columns, or the importance E[x^2], its
 * diagonal over the number of inputs.
 */
export type Statistics = 'hessian' | 'importance';

/** What a plan calibrates for. */
export interface PlannedCalibration {
  readonly method: 'gptq';
  readonly rounding: Rounding;
}

/**
 * What calibration did for one tensor. X are the inputs it was multiplied with, H = X^T X, E = T - Q with T what the codes
 * should come near: the weights W, or what makes up for what the inputs have lost.
 */
export interface TensorCalibration {
  /** Inputs seen: rows of X. For stacked experts, the fewest that any of them saw. */
  readonly tokens: number;
  /** What was added to the diagonal of H, as a fraction of its mean. 0 where H was not factored. */
  readonly damping: number;
  /** How often the damping was raised because H could not be factored. */
  readonly escalations: number;
  /** Estimate of the condition number of the damped H; null where it was not factored. */
  readonly condition: number | null;
  /** Input channels that were 0 in every input: their weights count for nothing. */
  readonly deadChannels: number;
  /** Relative output errors tr(E H E^T) / tr(T H T^T) with the undamped H. */
  readonly outputError: {
    /** Of ggml's own coding onto the same type, which asks no statistics; null where it was not computed. */
    readonly nearest: number | null;
    /** Of ggml's coding under importance; null where it was not computed or the type has none. */
    readonly importance: number | null;
    /** Of what was written. */
    readonly result: number;
  };
  /** How the codes were chosen; 'importance' is ggml's coding under importance. */
  readonly rounding: Rounding | 'importance';
}

/** What multiplied matrices. */
export interface GemmFacts {
  /** "wasm", "wasm-relaxed" or "blas: <library>". */
  readonly gemm: string;
  /** Why `--gemm auto` took no BLAS, in a line; absent where it did, or was not asked. */
  readonly withoutBlas?: string;
}

/** What a model was calibrated on, and how. */
export interface CalibrationFacts extends GemmFacts {
  /** Name of the text, for people. */
  readonly corpus: string;
  readonly files: readonly { readonly path: string; readonly bytes: number }[];
  /** Tokens in all windows. */
  readonly tokens: number;
  readonly windows: number;
  /** Tokens in a window. */
  readonly context: number;
  /** SHA-256, in hex, of the token ids of all windows as little-endian int32. */
  readonly sha256: string;
  readonly seed: number;
  readonly method: 'gptq' | 'importance';
  /** null where nothing was rounded. */
  readonly rounding: Rounding | null;
  readonly actOrder: boolean;
  /** The damping asked for, a fraction of the mean diagonal. */
  readonly damping: number;
  /** Share of what the inputs of matrices have lost that codes make up for (docs/gptq.md). */
  readonly correction: number;
}

/** Options that say what to calibrate on; the text bundled with this package unless `calibration` names one. */
export interface CorpusChoice {
  /** Text files, directories of them, or JSON lines. */
  readonly calibration?: readonly string[];
  /** Field of JSON lines that holds the text. */
  readonly calibrationField?: string;
  /** Tokens to calibrate on. */
  readonly calibrationTokens?: number;
  /** Tokens in a window. */
  readonly context?: number;
  /** Of the choice of windows, where the text holds more than are asked for. */
  readonly seed?: number;
}

/** Implementations of matrix products, and a choice among them (`openGemm`); `blas:` is followed by the path of a library. */
export type GemmKind = 'auto' | 'wasm' | 'wasm-relaxed' | 'blas' | `blas:${string}`;

/** Options of everything that runs the model. */
export interface ForwardChoice {
  /** Bytes that activations and Hessians may take in memory; what is beyond goes to scratch files. */
  readonly memory?: number;
  /** What multiplies matrices; auto is the fastest of those there are. */
  readonly gemm?: GemmKind;
}

/** Sums that make up an importance matrix, for one tensor. */
export interface CollectedImportance {
  /** Name of the tensor in GGUF files. */
  readonly name: string;
  /** Sums of x^2 by column; for stacked experts one row of columns after another. */
  readonly sums: Float32Array;
  /** Inputs seen, one number for each expert. */
  readonly counts: readonly number[];
}

/** An importance matrix that was collected, and on what. */
export interface ImportanceRun {
  readonly entries: readonly CollectedImportance[];
  readonly corpus: Omit<CalibrationFacts, 'method' | 'rounding' | 'actOrder' | 'damping' | 'correction'>;
  /** What the user should know of the text, one sentence each. */
  readonly warnings: readonly string[];
}

/** What the time of a calibration goes into; forward is also whatever is none of the others. */
export const calibrationPhases = ['forward', 'hessian', 'factor', 'correction', 'coding'] as const;
export type CalibrationPhase = (typeof calibrationPhases)[number];

/** Seconds of the clock by phase, and how many processors were busy on average. */
export type CalibrationTimes = Readonly<Record<CalibrationPhase, number>> & { readonly coresBusy: number };
