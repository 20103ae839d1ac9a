const f = Math.fround;

/** What the levels 0, 1, 2 stand for, in units of the scale, moved up or down by 1/8. */
export const shifted = (shift: 1 | -1): readonly number[] =>
  shift > 0 ? [-0.875, 0.125, 1.125] : [-1.125, -0.125, 0.875];

/**
 * A coding of a sub-block with three levels: its scale, the level of each weight, the shift of each group of
 * 8.
 */
export interface IQ1Split {
  readonly scale: number;
  readonly levels: readonly number[];
  readonly shifts: readonly (1 | -1)[];
}

/**
 * Candidates are judged by the weighted square error that is left at their own best scale, qx / qq: it is the
 * sum of w x^2 less qx^2 / qq.
 */
class Best {
  #score = Number.NEGATIVE_INFINITY;
  found: { scale: number; first: number; second: number; shifts: readonly (1 | -1)[] } | null = null;

  /** Whether a candidate with these sums of w q x and w q^2 replaces the best; float32 throughout. */
  offer(qx: number, qq: number, first: number, second: number, shifts: readonly (1 | -1)[]): void {
    if (!(qq > 0 && f(qx * qx) > f(this.#score * qq))) return;
    const scale = f(qx / qq);
    this.#score = f(scale * qx);
    this.found = { scale, first, second, shifts };
  }
}

/**
 * Indices in ascending order of the values; of equal values in order of index, as the C library's qsort
 * leaves them.
 */
const ascending = (x: Float32Array): number[] => [...x.keys()].sort((a, b) => x[a] - x[b]);

/**
 * Levels 0 for the `first` smallest weights, 2 from the `second` on, 1 between; turned round for a negative
 * scale.
 */
function finish({ found }: Best, order: readonly number[]): IQ1Split | null {
  if (found === null) return null;
  const { scale, first, second, shifts } = found;
  const negative = scale < 0;
  const levels = order.map(() => 0);
  order.forEach((i, rank) => {
    const level = rank < first ? 0 : rank < second ? 1 : 2;
    levels[i] = negative ? 2 - level : level;
  });
  return {
    scale: Math.abs(scale),
    levels,
    shifts: negative ? shifts.map((shift) => (shift > 0 ? -1 : 1)) : shifts,
  };
}

/** Sums of the first 0, 1, ..., n of the values. */
const prefixSums = (values: readonly number[]): number[] => {
  const sums = [0];
  for (const value of values) sums.push(f(sums[sums.length - 1] + value));
  return sums;
};

/**
 * The best split of 32 weights in ascending order into three runs with the levels 0, 1, 2, and the best of
 * two shifts: all are tried. Null if no weight counts. ggml: the search in quantize_row_iq1_s_impl.
 */
export function searchIQ1S(x: Float32Array, errors: Float32Array): IQ1Split | null {
  const n = x.length;
  const order = ascending(x);
  const wx = prefixSums(order.map((i) => f(errors[i] * x[i])));
  const w = prefixSums(order.map((i) => errors[i]));
  const best = new Best();
  const choices = ([1, -1] as const).map((shift) => ({
    values: shifted(shift),
    shifts: [shift, shift, shift, shift],
  }));
  for (let first = 0; first <= n; first++) {
    for (let second = first; second <= n; second++) {
      const runs = [
        [wx[first], w[first]],
        [f(wx[second] - wx[first]), f(w[second] - w[first])],
        [f(wx[n] - wx[second]), f(w[n] - w[second])],
      ];
      for (const { values, shifts } of choices) {
        const terms = runs.map(([wx, w], level) => [
          f(wx * values[level]),
          f(f(w * values[level]) * values[level]),
        ]);
        const qx = f(f(terms[0][0] + terms[1][0]) + terms[2][0]);
        const qq = f(f(terms[0][1] + terms[1][1]) + terms[2][1]);
        best.offer(qx, qq, first, second, shifts);
      }
    }
  }
  return finish(best, order);
}

/**
 * As `searchIQ1S` for 16 weights, of which each half has its own shift. Sums are kept by half. With
 * neighbouring values 1 apart, a half's sum of w q x is its total times the highest value, less the sums
 * before both boundaries. ggml: the search in quantize_row_iq1_m_impl.
 */
export function searchIQ1M(x: Float32Array, errors: Float32Array): IQ1Split | null {
  const n = x.length;
  const order = ascending(x);
  const halves = [0, 1].map((half) => {
    const within = (i: number) => (i < n / 2 ? half === 0 : half === 1);
    return {
      wx: prefixSums(order.map((i) => (within(i) ? f(errors[i] * x[i]) : 0))),
      w: prefixSums(order.map((i) => (within(i) ? errors[i] : 0))),
    };
  });
  const best = new Best();
  for (let first = 0; first <= n; first++) {
    for (let second = first; second <= n; second++) {
      const sums = halves.map(({ wx, w }) =>
        ([1, -1] as const).map((shift) => {
          const [low, middle, high] = shifted(shift);
          const steps = [low * low - middle * middle, middle * middle - high * high];
          const qx = f(f(wx[n] * high) - f(wx[first] + wx[second]));
          const total = f(f(w[n] * high) * high);
          return { shift, qx, qq: f(f(total + f(w[first] * steps[0])) + f(w[second] * steps[1])) };
        }),
      );
      for (const a of sums[0]) {
        for (const b of sums[1])
          best.offer(f(a.qx + b.qx), f(a.qq + b.qq), first, second, [a.shift, b.shift]);
      }
    }
  }
  return finish(best, order);
}
