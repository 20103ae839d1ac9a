/**
 * Thresholds of least information loss: the calibration of TensorRT (S. Migacz, "8-bit Inference with TensorRT", GTC
 * 2017, slides 33 to 38), for any number of levels.
 */

/** Added to every bin of both distributions, as a share of all mass over the bins of the histogram: none is empty. */
const SMOOTHING = 1e-4;

/** A histogram with running sums over its bins, from which a divergence takes a step a level, not a step a bin. */
export class Histogram {
  readonly bins: number;
  /** Entry i is over the bins below i: of counts, of bins that are not empty, of p log p. */
  readonly #counts: Float64Array;
  readonly #filled: Float64Array;
  readonly #entropy: Float64Array;
  readonly #even: number;
  readonly #total: number;

  constructor(counts: Float64Array) {
    this.bins = counts.length;
    this.#even = SMOOTHING / counts.length;
    this.#counts = new Float64Array(counts.length + 1);
    this.#filled = new Float64Array(counts.length + 1);
    this.#entropy = new Float64Array(counts.length + 1);
    this.#total = counts.reduce((sum, count) => sum + count, 0);
    counts.forEach((count, i) => {
      this.#counts[i + 1] = this.#counts[i] + count;
      this.#filled[i + 1] = this.#filled[i] + (count > 0 ? 1 : 0);
      this.#entropy[i + 1] = this.#entropy[i] + xLogX(this.#share(count));
    });
  }

  /** Weights in a bin. */
  count(bin: number): number {
    return this.#counts[bin + 1] - this.#counts[bin];
  }

  #share(count: number): number {
    return count / this.#total + this.#even;
  }

  /**
   * Kullback-Leibler divergence, in nats, of the bins [from, to) from their quantized form. P are the counts, what lies
   * outside added to the outermost bins; Q are the counts inside, merged into `levels` runs of bins of (nearly) one width
   * and spread again evenly over the bins of each run that are not empty. Both are shares, smoothed, then made to sum to
   * 1. Infinity where no weight is inside.
   */
  divergence(from: number, to: number, levels: number): number {
    const width = to - from;
    const inside = this.#counts[to] - this.#counts[from];
    if (inside === 0) return Number.POSITIVE_INFINITY;
    // Smoothing gives both the same sum.
    const norm = 1 + this.#even * width;
    const below = this.#counts[from];
    const above = this.#total - this.#counts[to];
    let loss = this.#entropy[to] - this.#entropy[from];
    let logLow = 0; // log q of the outermost bins
    let logHigh = 0;
    const logEven = Math.log(this.#even);
    let end = from;
    for (let level = 0; level < levels; level++) {
      const first = end;
      end = from + Math.floor(((level + 1) * width) / levels);
      if (end === first) continue;
      const filled = this.#filled[end] - this.#filled[first];
      const mass = this.#counts[end] - this.#counts[first];
      const logQ = filled === 0 ? logEven : Math.log(mass / filled / inside + this.#even);
      const empty = end - first - filled;
      loss -= (mass / this.#total + filled * this.#even) * logQ + empty * this.#even * logEven;
      if (first === from) logLow = this.count(from) > 0 ? logQ : logEven;
      if (end === to) logHigh = this.count(to - 1) > 0 ? logQ : logEven;
    }
    // The outermost bins hold what lies outside.
    const single = to - from === 1;
    loss += this.#added(from, below + (single ? above : 0), logLow);
    if (!single) loss += this.#added(to - 1, above, logHigh);
    return loss / norm;
  }

  /** What `more` weights in a bin add to the loss. */
  #added(bin: number, more: number, logQ: number): number {
    const count = this.count(bin);
    return xLogX(this.#share(count + more)) - xLogX(this.#share(count)) - (more / this.#total) * logQ;
  }
}

const xLogX = (x: number): number => x * Math.log(x);

/**
 * Number of bins of magnitudes, from zero on, whose end is the threshold: of all from `levels` to all bins, the one of
 * least divergence, the largest of equals. `levels` counts the magnitudes that codes stand for, zero included.
 */
export function symmetricThreshold(counts: Float64Array, levels: number): number {
  const histogram = new Histogram(counts);
  let best = histogram.bins;
  let least = histogram.divergence(0, best, levels);
  for (let to = best - 1; to >= levels; to--) {
    const loss = histogram.divergence(0, to, levels);
    if (loss < least) [best, least] = [to, loss];
  }
  return best;
}

/**
 * Bins [from, to) between the thresholds on both sides. Bins are cut off one by one, each time at the end whose outermost
 * bin holds fewer weights (the upper one of equals), down to one a level; the widest range of least divergence is taken.
 */
export function affineThresholds(counts: Float64Array, levels: number): [from: number, to: number] {
  const histogram = new Histogram(counts);
  let [from, to] = [0, histogram.bins];
  let best: [number, number] = [from, to];
  let least = histogram.divergence(from, to, levels);
  while (to - from > levels) {
    if (histogram.count(from) < histogram.count(to - 1)) from++;
    else to--;
    const loss = histogram.divergence(from, to, levels);
    if (loss < least) [best, least] = [[from, to], loss];
  }
  return best;
}
