import type { Codebook } from './codebook.ts';
import { sumOfSquares, weigh } from './importance.ts';
import { nearestCode } from './nearest.ts';
import { searchPositive } from './positive.ts';

const f = Math.fround;

/** Weights in a super-block. */
export const SUPER = 256;

/** How the sub-blocks of a type are searched. A level l stands for the magnitude (2 l + 1) * scale. */
export interface CodebookSearch {
  readonly book: Codebook;
  /** Weights of a sub-block. */
  readonly size: 16 | 32;
  /** Largest level of a coordinate. */
  readonly top: number;
  /** A sub-block whose largest magnitude is below counts as all zero. */
  readonly zeroBelow: number;
  /**
   * Whether the signs of each eight weights must multiply to plus, so that seven are stored: where they do not, the
   * weight that counts least is taken with the wrong sign, that is as a negative magnitude.
   */
  readonly evenSigns: boolean;
  /**
   * What the candidates are spread around: the largest magnitude, or the range of a search without codebook
   * (top + 2 levels from 0).
   */
  readonly around: 'largest' | 'search';
  /** Candidates are the inverse scales (2 top + 1 + delta * step) / range for step = -steps..steps. */
  readonly steps: number;
  readonly delta: number;
  /**
   * Which groups are coded again at the scale that won: those whose levels were no point of the codebook, all if there
   * is such a group, or all.
   */
  readonly recode: 'inexact' | 'all if inexact' | 'all';
}

/** A sub-block, coded. */
interface CodedSubBlock {
  /** Not negative. */
  readonly scale: number;
  /** Members of the codebook, one a group. */
  readonly indices: readonly number[];
  /** Bit i of a byte is set where weight i of eight is negative. */
  readonly signs: readonly number[];
}

/** A group's member of the codebook, and whether the group's levels were that member to begin with. */
interface Choice {
  readonly index: number;
  readonly exact: boolean;
}

/** A super-block's sub-blocks, null where they count as zero, and its scales. */
export interface CodedSuperBlock {
  readonly parts: readonly (CodedSubBlock | null)[];
  /** Whether every scale is 0. */
  readonly zero: boolean;
  /** Largest scale / 31. */
  readonly d: number;
  /** Levels of the scales, 0..15: a scale is about d * (2 * level + 1). */
  readonly levels: readonly number[];
}

/** Codes the 256 weights of a super-block. `weights` says what the error of each counts. */
export function searchSuperBlock(
  x: Float32Array,
  weights: Float32Array,
  search: CodebookSearch,
): CodedSuperBlock {
  const parts = Array.from({ length: SUPER / search.size }, (_, j) => {
    const [from, to] = [j * search.size, (j + 1) * search.size];
    return searchSubBlock(x.subarray(from, to), weights.subarray(from, to), search);
  });
  const scales = parts.map((part) => part?.scale ?? 0);
  const max = scales.reduce((largest, scale) => (scale > largest ? scale : largest), 0);
  const d = f(max / 31);
  const levelOf = (scale: number) => nearestCode(f(0.5 * f(f(f(1 / d) * scale) - 1)), 15);
  return { parts, zero: max === 0, d, levels: scales.map((scale) => (max === 0 ? 0 : levelOf(scale))) };
}

/** What errors count under importances; `factor` times the mean of x^2 is added to x^2. */
export const weighSuperBlock = (x: Float32Array, importance: Float32Array, factor: 1 | 2): Float32Array =>
  weigh(x, importance, f(f(factor * sumOfSquares(x)) / SUPER));

/**
 * Codes one sub-block so that the squared errors, counted `weights` times, are small; null where it counts as zero.
 * Candidates of the scale fix levels, levels that are no member of the codebook are moved to a neighbour, and least
 * squares over the members judges the candidate. ggml: the loops over sub-blocks in quantize_row_iq2_xxs_impl,
 * quantize_row_iq2_xs_impl, quantize_row_iq2_s_impl, quantize_row_iq3_xxs_impl and quantize_row_iq3_s_impl.
 */
function searchSubBlock(
  x: Float32Array,
  weights: Float32Array,
  search: CodebookSearch,
): CodedSubBlock | null {
  const { book, top, steps, delta, recode } = search;
  const { magnitudes, signs } = splitSigns(x, weights, search.evenSigns);
  const max = magnitudes.reduce((largest, value) => (largest > value ? largest : value));
  if (max < search.zeroBelow) return null;

  let scale = f(max / (2 * top + 1));
  let range = max;
  if (search.around === 'search') {
    scale = searchPositive(magnitudes, weights, new Uint8Array(x.length), top + 2);
    range = f(scale * (top + 1));
    if (range <= 0) return null;
  }

  const roots = weights.map(Math.sqrt);
  const groups = Array.from({ length: x.length / book.dimensions }, (_, k) => {
    const [from, to] = [k * book.dimensions, (k + 1) * book.dimensions];
    return [magnitudes.subarray(from, to), roots.subarray(from, to)] as const;
  });
  let choices: readonly Choice[] = groups.map(() => ({ index: 0, exact: recode === 'inexact' }));
  let best = 0;
  for (let step = -steps; step <= steps; step++) {
    const inverse = f(f(2 * top + 1 + f(step * f(delta))) / range);
    const candidate = groups.map(([values, roots]) =>
      chooseMember(search, values, roots, inverse, f(1 / inverse)),
    );
    const [qx, qq] = moments(book, candidate, magnitudes, weights);
    if (qq > 0 && f(qx * qx) > f(best * qq)) {
      scale = f(qx / qq);
      best = f(scale * qx);
      choices = candidate;
    }
  }

  if (scale > 0 && (recode === 'all' || choices.some(({ exact }) => !exact))) {
    const inverse = f(1 / scale);
    choices = groups.map(([values, roots], k) =>
      recode === 'inexact' && choices[k].exact
        ? choices[k]
        : chooseMember(search, values, roots, inverse, scale),
    );
    const [qx, qq] = moments(book, choices, magnitudes, weights);
    if (qq > 0) scale = f(qx / qq);
  }
  const indices = choices.map(({ index }) => index);
  // A wrong sign that counts for much can turn the scale negative.
  return scale < 0
    ? { scale: -scale, indices, signs: signs.map((byte) => ~byte & 255) }
    : { scale, indices, signs };
}

function splitSigns(
  x: Float32Array,
  weights: Float32Array,
  even: boolean,
): { magnitudes: Float32Array; signs: number[] } {
  const magnitudes = x.map(Math.abs);
  const signs: number[] = [];
  for (let start = 0; start < x.length; start += 8) {
    let byte = 0;
    let negative = 0;
    let least = start;
    const costOf = (i: number) => f(f(weights[i] * x[i]) * x[i]);
    for (let i = start; i < start + 8; i++) {
      if (x[i] < 0) {
        byte |= 1 << (i - start);
        negative++;
      }
      if (costOf(i) < costOf(least)) least = i;
    }
    if (even && negative % 2 === 1) {
      magnitudes[least] = -magnitudes[least];
      byte ^= 1 << (least - start);
    }
    signs.push(byte);
  }
  return { magnitudes, signs };
}

/**
 * The member for a group at an inverse scale: its levels, or of their neighbours the one of least error at this scale,
 * each error counted by the root of its weight; the first of equals.
 */
function chooseMember(
  { book, top }: CodebookSearch,
  values: Float32Array,
  roots: Float32Array,
  inverse: number,
  scale: number,
): Choice {
  const levels = new Uint8Array(values.length);
  for (let i = 0; i < levels.length; i++) {
    levels[i] = nearestCode(f(0.5 * f(f(inverse * values[i]) - 1)), top);
  }
  const exactly = book.indexOf(levels);
  if (exactly !== undefined) return { index: exactly, exact: true };

  const neighbours = book.neighboursOf(levels);
  let index = neighbours[0];
  let least = f(3.4028234663852886e38);
  for (const neighbour of neighbours) {
    const point = book.points[neighbour];
    let error = 0;
    for (let i = 0; i < point.length; i++) {
      const difference = f(f(scale * (2 * point[i] + 1)) - values[i]);
      error = f(error + f(f(roots[i] * difference) * difference));
    }
    if (error < least) {
      least = error;
      index = neighbour;
    }
  }
  return { index, exact: false };
}

/** Sums of w x q and w q^2 over a sub-block, q = 2 * level + 1. */
function moments(
  book: Codebook,
  choices: readonly Choice[],
  magnitudes: Float32Array,
  weights: Float32Array,
): [qx: number, qq: number] {
  let [qx, qq, i] = [0, 0, 0];
  for (const { index } of choices) {
    for (const level of book.points[index]) {
      const q = 2 * level + 1;
      qx = f(qx + f(f(weights[i] * magnitudes[i]) * q));
      qq = f(qq + f(f(weights[i] * q) * q));
      i++;
    }
  }
  return [qx, qq];
}
