import type { MessagePort } from 'node:worker_threads';
import type { ForwardModel } from '../calibrate/forward/shape.ts';
import type { Gemm } from '../compute/gemm-choice.ts';
import type { ActivationGroup } from '../core/activations.ts';
import type { CalibrationTimes, CollectedImportance } from '../core/calibration.ts';
import type { ErrorDetails } from '../core/errors.ts';
import type { Evaluation } from '../core/evaluation.ts';
import type { EvaluationOptions } from '../evaluate/evaluate.ts';
import type { CodedTensor } from './coded-blocks.ts';
import type { GptqOptions } from './gptq.ts';

/** What every calculation with a model is told. */
interface Common {
  readonly threads: number;
  /** `--memory`, if it was given. */
  readonly memory: number | undefined;
  readonly gemm: Gemm;
  readonly model: ForwardModel;
  readonly windows: readonly Int32Array[];
}

/** A calculation with a model, as it can be sent to the thread that conducts it. */
export type ConductJob =
  | (Common & {
      readonly kind: 'gptq';
      readonly gptq: Pick<
        GptqOptions,
        'tensors' | 'coded' | 'embedding' | 'rounding' | 'damping' | 'actOrder' | 'correction'
      >;
    })
  | (Common & { readonly kind: 'importance' })
  | (Common & { readonly kind: 'activations'; readonly percentile: number })
  | (Common &
      Pick<EvaluationOptions, 'activations' | 'statistics' | 'layers'> & {
        readonly kind: 'evaluation';
        readonly base: ForwardModel | null;
      });

/** What it gives in the end; GPTQ gives its tensors on the way, and says where the time went. */
export interface Results {
  readonly gptq: CalibrationTimes;
  readonly importance: readonly CollectedImportance[];
  readonly activations: readonly ActivationGroup[];
  readonly evaluation: Omit<Evaluation, 'text'>;
}

/** Where it is. */
export interface ConductProgress {
  /** From 1; more than `layers` behind the last block. */
  readonly layer: number;
  readonly layers: number;
  readonly step: string;
  readonly done: number;
  readonly total: number;
}

/** An error, as it can be sent. */
export interface SentError {
  readonly name: string;
  readonly message: string;
  readonly stack: string | undefined;
  /** null for a bug. */
  readonly details: ErrorDetails | null;
  readonly exitCode: number;
}

export type ConductMessage =
  /** A thread of the team is wanted (TeamOptions.startThread). */
  | { readonly kind: 'thread'; readonly port: MessagePort; readonly thread: number }
  | ({ readonly kind: 'progress' } & ConductProgress)
  | { readonly kind: 'coded'; readonly coded: readonly CodedTensor[] }
  | { readonly kind: 'done'; readonly result: unknown }
  | { readonly kind: 'failed'; readonly error: SentError };

export interface ConductorData {
  readonly job: ConductJob;
  /** One number: messages of coded tensors that were taken, and all in them written. */
  readonly taken: Int32Array;
}
