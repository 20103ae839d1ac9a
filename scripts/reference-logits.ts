import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { Llama, type PerplexityOptions } from '../test/engine/llama.ts';
import { logNormalizer, rowDivergence } from '../test/engine/predictions.ts';

/** What a model costs against the reference, over the second halves of windows of held-out text. */
export interface Quality {
  readonly perplexity: number;
  /** Mean Kullback-Leibler divergence from the reference, nats a token. */
  readonly divergence: number;
  /** The same of each window alone: all have the same number of tokens. */
  readonly windows: readonly number[];
}

/**
 * Logits of the unquantized model, computed once and kept in a file, for the comparison of many others with it: float32,
 * a window behind the other, [tokens of the second half, vocabulary] each.
 */
export class ReferenceLogits {
  readonly perplexity: number;
  readonly #file: number;
  readonly #tokens: Int32Array;
  readonly #options: PerplexityOptions;

  /** Runs the reference over the first windows of `text`; `path` is the file to make. */
  constructor(model: string, text: string, options: PerplexityOptions, path: string) {
    const llama = Llama.load(model, { context: options.context ?? 256 });
    this.#file = openSync(path, 'w+');
    this.#options = options;
    this.#tokens = llama.tokenize(text);
    let surprise = 0;
    let count = 0;
    for (const { rows, next } of llama.windows(this.#tokens, options)) {
      for (const [i, row] of rows.entries()) {
        writeSync(this.#file, row);
        surprise += logNormalizer(row) - row[next[i]];
      }
      count += rows.length;
    }
    llama.free();
    this.perplexity = Math.exp(surprise / count);
  }

  /** Runs another model over the same windows. It must have the reference's vocabulary. */
  compare(model: string): Quality {
    const llama = Llama.load(model, { context: this.#options.context ?? 256 });
    const windows: number[] = [];
    let surprise = 0;
    let count = 0;
    for (const { rows, next } of llama.windows(this.#tokens, this.#options)) {
      let divergence = 0;
      for (const [i, row] of rows.entries()) {
        const reference = new Float32Array(row.length);
        readSync(this.#file, reference, 0, reference.byteLength, count++ * reference.byteLength);
        divergence += rowDivergence(reference, row);
        surprise += logNormalizer(row) - row[next[i]];
      }
      windows.push(divergence / rows.length);
    }
    llama.free();
    return { perplexity: Math.exp(surprise / count), divergence: mean(windows), windows };
  }

  close(): void {
    closeSync(this.#file);
  }
}

/**
 * How many times the divergence of `base` that of `model` is, and the standard error of that ratio over the choice of
 * windows (jackknife: each window left out once).
 */
export function divergenceRatio(model: Quality, base: Quality): { ratio: number; error: number } {
  const n = model.windows.length;
  const [sum, baseSum] = [model, base].map(({ windows }) => mean(windows) * n);
  const without = model.windows.map((value, i) => (sum - value) / (baseSum - base.windows[i]));
  const centre = mean(without);
  const spread = without.reduce((total, value) => total + (value - centre) ** 2, 0);
  return { ratio: sum / baseSum, error: Math.sqrt(((n - 1) / n) * spread) };
}

const mean = (list: readonly number[]) => list.reduce((sum, value) => sum + value, 0) / list.length;
