import type { Checkpoint } from '../core/checkpoint.ts';
import type { EncoderName } from '../core/plan.ts';
import type { TypeName } from '../core/types.ts';
import type { ImportanceFilter } from './importance.ts';
import { copyScheme, isCopy } from './keep.ts';
import type { ScalarEntry } from './overrides.ts';
import { resolveScheme, type Scheme, type SchemeOptions } from './presets.ts';

/** The options that decide the output, as typed by the user. */
export interface PlanOptions extends SchemeOptions, ImportanceFilter {
  readonly leaveOutputTensor?: boolean;
  readonly outputTensorType?: string;
  readonly tokenEmbeddingType?: string;
  readonly tensorTypes?: readonly { readonly pattern: string; readonly type: string }[];
  /** `tokenizer.ggml.pre` to write instead of recognising the pre-tokenizer. */
  readonly tokenizerPre?: string;
  /** Quantize tensors of a GGUF that are quantized already. */
  readonly allowRequantize?: boolean;
  /** KEY=TYPE:VALUE, as in llama-quantize. */
  readonly overrideKv?: readonly string[];
  /** Keep the parts of a split GGUF, and the order of the tensors in them. */
  readonly keepSplit?: boolean;
  /** Layers to leave out. */
  readonly pruneLayers?: readonly number[];
  /** Which types can be written: those that an unknown `type` is answered with. */
  readonly canWrite?: (type: TypeName) => boolean;
  /** Which codings follow importance; needed by a method that calibrates. */
  readonly canWeigh?: (encoder: EncoderName) => boolean;
  /** Architectures that can be run, by llama.cpp's names; needed by a method that calibrates. */
  readonly forwardPasses?: readonly string[];
  /** Decode every tensor to `type`, which is F32, F16 or BF16. */
  readonly decode?: boolean;
  /** What the output is; safetensors only with `decode`. GGUF unless told. */
  readonly container?: 'gguf' | 'safetensors';
}

/** What becomes of the weights. */
export type PlanJob =
  /** Every tensor as it is (`--type COPY`). */
  | { readonly kind: 'copy'; readonly scheme: Scheme }
  /** Every tensor to one float type, whatever it is stored as (`quantize dequantize`). */
  | { readonly kind: 'decode'; readonly scheme: Scheme; readonly to: TypeName }
  /** Types by a mixture, which may be a float type: a plain conversion. */
  | { readonly kind: 'quantize'; readonly scheme: Scheme };

/**
 * The job that the options ask for. Decoding safetensors to a GGUF is a conversion to a float type, as nothing in them is
 * quantized.
 *
 * @throws UsageError for options that contradict each other
 */
export function planJob(
  checkpoint: Checkpoint,
  options: PlanOptions,
  overrides: readonly ScalarEntry[],
): PlanJob {
  if (isCopy(options.type)) {
    return { kind: 'copy', scheme: copyScheme(checkpoint, { ...options }, overrides) };
  }
  const scheme = resolveScheme(options, options.canWrite);
  if (options.decode && (checkpoint.format === 'gguf' || options.container === 'safetensors')) {
    return { kind: 'decode', scheme, to: scheme.mixture.base };
  }
  return { kind: 'quantize', scheme };
}
