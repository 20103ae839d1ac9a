/** What rows of logits say; all sums in float64. */

/** Kullback-Leibler divergence of the distribution of `other` from that of `row`, in nats. */
export function rowDivergence(row: Float32Array, other: Float32Array): number {
  const [shift, otherShift] = [logNormalizer(row), logNormalizer(other)];
  let sum = 0;
  for (let t = 0; t < row.length; t++) {
    const p = row[t] - shift;
    sum += Math.exp(p) * (p - (other[t] - otherShift));
  }
  return sum;
}

/** ln of the sum of exp(logit). */
export function logNormalizer(logits: Float32Array): number {
  let max = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < logits.length; i++) if (logits[i] > max) max = logits[i];
  let sum = 0;
  for (let i = 0; i < logits.length; i++) sum += Math.exp(logits[i] - max);
  return max + Math.log(sum);
}

/** Index of the largest number, and by how much it leads. */
export function topTwo(row: Float32Array): [best: number, gap: number] {
  let best = 0;
  let second = Number.NEGATIVE_INFINITY;
  for (let i = 1; i < row.length; i++) {
    if (row[i] > row[best]) {
      second = row[best];
      best = i;
    } else second = Math.max(second, row[i]);
  }
  return [best, row[best] - second];
}

/** The token at which the cumulative probability passes u, 0 <= u < 1. */
export function draw(row: Float32Array, u: number): number {
  const shift = logNormalizer(row);
  let left = u;
  for (let token = 0; token < row.length; token++) {
    left -= Math.exp(row[token] - shift);
    if (left < 0) return token;
  }
  return row.length - 1;
}
