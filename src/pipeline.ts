import type { Plan } from './core/plan.ts';
import type { RunResult, Stage } from './core/result.ts';

export type { RunFacts, RunResult, Stage, TensorResult } from './core/result.ts';

/** What to do; every field that is left out has the default of the command line. */
export interface QuantizeOptions {
  /** Hugging Face directory, a .safetensors file, its index, or an unquantized GGUF. */
  input: string;
  /** Path, '-' for standard output, or undefined: <model>-<TYPE>.gguf in the current directory. */
  output?: string;
  type?: string;
  method?: string;
  bits?: number;
  pure?: boolean;
  leaveOutputTensor?: boolean;
  outputTensorType?: string;
  tokenEmbeddingType?: string;
  tensorTypes?: { pattern: string; type: string }[];
  /** Default: available parallelism. */
  threads?: number;
  /** Weights a thread handles at a time, a multiple of 32768; default 1048576. */
  chunkSize?: number;
  kernels?: 'auto' | 'simd' | 'scalar';
  /** Replace an existing output. */
  force?: boolean;
  signal?: AbortSignal;
}

export type PipelineEvent =
  | { kind: 'stage'; stage: Stage }
  | { kind: 'plan'; plan: Plan; layout: { fileBytes: number } }
  | { kind: 'progress'; doneWeights: number; totalWeights: number; tensor: string }
  | { kind: 'warning'; message: string };

/** The plan and the size of the file it makes; reads headers and configuration only. */
export function planQuantization(_options: QuantizeOptions): { plan: Plan; layout: { fileBytes: number } } {
  throw new Error('the stages are not joined in this build');
}

/** Runs all stages. */
export async function quantize(
  _options: QuantizeOptions,
  _onEvent: (event: PipelineEvent) => void,
): Promise<RunResult> {
  throw new Error('the stages are not joined in this build');
}
