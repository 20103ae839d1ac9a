/**
 * Thresholds of least information loss: the calibration of TensorRT (S. Migacz, "8-bit Inference with TensorRT", GTC
 * 2017, slides 33 to 38), for any number of levels.
 */

/** Mass that is spread evenly over all bins of both distributions, so that no bin of either is empty. */
const SMOOTHING = 1e-4;

/**
 * Kullback-Leibler divergence, in nats, of a histogram's bins [from, to) from their quantized form. P are the counts,
 * what lies outside added to the outermost bins; Q are the counts inside, merged into `levels` runs of bins of (nearly)
 * one width and spread again evenly over the bins of each run that are not empty. Both sum to 1 after smoothing.
 */
export function divergence(counts: Float64Array, from: number, to: number, levels: number): number {
  const width = to - from;
  let [below, above, inside] = [0, 0, 0];
  for (let i = 0; i < from; i++) below += counts[i];
  for (let i = to; i < counts.length; i++) above += counts[i];
  for (let i = from; i < to; i++) inside += counts[i];
  const total = below + inside + above;
  if (inside === 0) return Number.POSITIVE_INFINITY;
  const even = SMOOTHING / width;
  const keep = 1 - SMOOTHING;
  let loss = 0;
  for (let level = 0; level < levels; level++) {
    const first = from + Math.floor((level * width) / levels);
    const end = from + Math.floor(((level + 1) * width) / levels);
    let [mass, filled] = [0, 0];
    for (let i = first; i < end; i++) {
      mass += counts[i];
      if (counts[i] > 0) filled++;
    }
    const share = filled === 0 ? 0 : mass / filled / inside;
    const q = keep * share + even; // of a bin that is not empty
    for (let i = first; i < end; i++) {
      const count = counts[i] + (i === from ? below : 0) + (i === to - 1 ? above : 0);
      const p = (keep * count) / total + even;
      loss += p * Math.log(p / (counts[i] > 0 ? q : even));
    }
  }
  return loss;
}

/**
 * Number of bins of magnitudes, from zero on, whose end is the threshold: of all from `levels` to all bins, the one of
 * least divergence, the largest of equals. `levels` counts the magnitudes that codes stand for, zero included.
 */
export function symmetricThreshold(counts: Float64Array, levels: number): number {
  let best = counts.length;
  let least = divergence(counts, 0, best, levels);
  for (let to = best - 1; to >= levels; to--) {
    const loss = divergence(counts, 0, to, levels);
    if (loss < least) [best, least] = [to, loss];
  }
  return best;
}

/**
 * Bins [from, to) between the thresholds on both sides. Bins are cut off one by one, each time at the end whose outermost
 * bin holds fewer weights (the upper one of equals), down to one a level; the widest range of least divergence is taken.
 */
export function affineThresholds(counts: Float64Array, levels: number): [from: number, to: number] {
  let [from, to] = [0, counts.length];
  let best: [number, number] = [from, to];
  let least = divergence(counts, from, to, levels);
  while (to - from > levels) {
    if (counts[from] < counts[to - 1]) from++;
    else to--;
    const loss = divergence(counts, from, to, levels);
    if (loss < least) [best, least] = [[from, to], loss];
  }
  return best;
}
