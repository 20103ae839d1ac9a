import { CODES, MAP, pointOf, pointsOf } from './codebook';
import { chooseNeighbours, coordinates, nearestExactly, SCALES, setMargins } from './codebook-nearest';
import { largestLane } from './group';
import { sumOfSquares, weightOf } from './importance';
import { nearestInt, ROUNDER } from './nearest';
import { searchPositive } from './positive';

/**
 * The search for scales, members of a codebook and signs of a super-block of 256 weights, for the IQ2 and IQ3 types.
 * Must agree with the loops over sub-blocks in `quantize_row_iq2_xxs_impl`, `quantize_row_iq2_xs_impl`,
 * `quantize_row_iq2_s_impl`, `quantize_row_iq3_xxs_impl` and `quantize_row_iq3_s_impl`. Candidates of a sub-block's
 * scale are side by side in the lanes while levels are found and moments are added up; in between, each run of
 * candidates that give a group the same levels is one search for neighbours.
 */

/** How the groups of a sub-block are coded again at the scale that won. */
export const enum Recode {
  /** Those whose levels were no member of the codebook. */
  Inexact,
  /** All, if there is such a group. */
  AllIfInexact,
  All,
}

// The super-block, f32 each.
const magnitudes = memory.data(1024, 16); // |x|, negative where the sign is wrong
const weights = memory.data(1024, 16);
const roots = memory.data(1024, 16); // of the weights
const products = memory.data(1024, 16); // weight * magnitude

/** Signs of each eight weights, u8: bit i set where weight i is negative. */
export const SIGNS: usize = memory.data(32, 16);
/** Scales of the sub-blocks, f32; -1 for one that counts as all zero, whose indices and signs are 0. */
export const PART_SCALES: usize = memory.data(64, 16);
/** Indices of the members, u16. */
export const INDICES: usize = memory.data(128, 16);
/** Levels of the scales, u8. */
export const LEVELS: usize = memory.data(16, 16);

// One sub-block: up to 32 candidates, one in four bytes.
const inverses = memory.data(128, 16); // of SCALES, f32
const numbers = memory.data(1024, 16); // for each group, 128 bytes: numbers of the levels, i32
const members = memory.data(1040, 16); // for each group, 128 bytes: codes of the members, u32
const momentsQX = memory.data(128, 16); // sum w x q
const momentsQQ = memory.data(128, 16); // sum w q^2
const plainCodes = memory.data(32, 16); // u8 each: of the search without codebook, not used
const choices = memory.data(32, 16); // for each group: code of the member, u32

/**
 * Takes the 256 weights at src: what each counts, with importances at `importance` importance * sqrt(variance + x^2),
 * without (0) share * variance + x^2, where the variance is `factor` times the mean of x^2. With `even`, of each
 * eight signs whose product is minus the one that counts least is taken wrong.
 */
export function openSuperBlock(src: usize, importance: usize, factor: f32, share: f32, even: bool): void {
  const variance = f32x4.splat(factor * sumOfSquares(src, 256) / 256);
  const shared = share == 0 ? f32x4.splat(0) : f32x4.mul(f32x4.splat(share), variance);
  for (let i: usize = 0; i < 1024; i += 16) {
    const x = v128.load(src + i);
    const weight = importance != 0
      ? weightOf(x, v128.load(importance + i), variance)
      : f32x4.add(shared, f32x4.mul(x, x));
    v128.store(weights + i, weight);
    v128.store(roots + i, f32x4.sqrt(weight));
    v128.store(magnitudes + i, f32x4.abs(x));
  }
  for (let group: usize = 0; group < 32; group++) {
    const x = src + (group << 5);
    const zero = f32x4.splat(0);
    const low = v128.load(x), high = v128.load(x, 16);
    let signs = i32x4.bitmask(f32x4.lt(low, zero)) | (i32x4.bitmask(f32x4.lt(high, zero)) << 4);
    if (even && (popcnt(signs) & 1) != 0) {
      const least = leastCost(x, weights + (group << 5));
      const at = magnitudes + (group << 5) + (<usize>least << 2);
      store<f32>(at, -load<f32>(at));
      signs ^= 1 << least;
    }
    store<u8>(SIGNS + group, <u8>signs);
  }
  for (let i: usize = 0; i < 1024; i += 16) {
    v128.store(products + i, f32x4.mul(v128.load(weights + i), v128.load(magnitudes + i)));
  }
}

/** Which of eight weights has the least w x^2, the first of equals. */
// @ts-ignore: decorator
@inline
function leastCost(x: usize, w: usize): i32 {
  const low = v128.load(x), high = v128.load(x, 16);
  const costLow = f32x4.mul(f32x4.mul(v128.load(w), low), low);
  const costHigh = f32x4.mul(f32x4.mul(v128.load(w, 16), high), high);
  let least = f32x4.pmin(costLow, costHigh);
  least = f32x4.pmin(least, v128.shuffle<i32>(least, least, 2, 3, 0, 1));
  least = f32x4.pmin(least, v128.shuffle<i32>(least, least, 1, 0, 3, 2));
  const equal = i32x4.bitmask(f32x4.eq(costLow, least)) | (i32x4.bitmask(f32x4.eq(costHigh, least)) << 4);
  return ctz(equal | 0x80); // the last where costs are NaN
}

/**
 * Searches sub-block j, of `size` weights in groups of 8 (radix 3) or 4 (radix 8), and writes PART_SCALES, INDICES and
 * (where a negative scale turns them) SIGNS. Candidates are the inverse scales (2 top + 1 + delta * step) / range for
 * step = -steps..steps. The range is the largest magnitude, or with `plain` that of a search without codebook.
 */
export function searchSubBlock(
  book: usize, radix: i32, size: usize, j: usize, zeroBelow: f32, steps: i32, delta: f32, plain: bool, recode: Recode,
): void {
  const top = radix - 1, middle = <f32>(top + top + 1);
  const dimensions: usize = radix == 3 ? 8 : 4;
  const groups = size / dimensions;
  const at = j * size << 2;
  const indices = INDICES + (j * groups << 1);
  const x = magnitudes + at, w = weights + at;
  const max = largestOf(x, size);
  let range = max, scale = max / middle;
  if (plain && max >= zeroBelow) {
    scale = searchPositive(x, w, size, top + 2, plainCodes);
    range = scale * <f32>(top + 1);
  }
  if (max < zeroBelow || (plain && range <= 0)) {
    store<f32>(PART_SCALES + (j << 2), -1);
    memory.fill(indices, 0, groups << 1);
    memory.fill(SIGNS + (j * size >> 3), 0, size >> 3);
    return;
  }

  const count = 2 * steps + 1;
  openCandidates(middle, steps, delta, range);
  setMargins(middle, <i32>size, x, roots + at, count);
  for (let k: usize = 0; k < groups; k++) {
    const group = k * dimensions << 2;
    numberLevels(radix, x + group, count, numbers + (k << 7));
    chooseMembers(book, dimensions, x + group, roots + at + group, count, k << 7);
  }
  for (let c: usize = 0; c < <usize>count << 2; c += 16) addMoments(dimensions, groups, at, c);

  let best: f32 = 0, winner = -1;
  for (let c = 0; c < count << 2; c += 4) {
    const qx = load<f32>(momentsQX + <usize>c), qq = load<f32>(momentsQQ + <usize>c);
    if (qq > 0 && qx * qx > best * qq) {
      scale = qx / qq;
      best = scale * qx;
      winner = c;
    }
  }
  scale = recodeGroups(book, radix, groups, at, winner, scale, recode);
  if (scale < 0) {
    scale = -scale;
    for (let i = j * size >> 3; i < (j + 1) * size >> 3; i++) store<u8>(SIGNS + i, ~load<u8>(SIGNS + i));
  }
  store<f32>(PART_SCALES + (j << 2), scale);
  for (let k: usize = 0; k < groups; k++) {
    const point = pointOf(load<u32>(choices + (k << 2)), radix);
    store<u16>(indices + (k << 1), <u16>load<i32>(book + (<usize>point << 2), MAP));
  }
}

/** The largest of n floats (a multiple of 4), as they are. */
// @ts-ignore: decorator
@inline
function largestOf(x: usize, n: usize): f32 {
  let largest = v128.load(x);
  for (let i: usize = 16; i < n << 2; i += 16) largest = f32x4.pmax(largest, v128.load(x + i));
  return largestLane(largest);
}

/** Writes the candidates: (middle + delta * step) / range and their reciprocals. */
// @ts-ignore: decorator
@inline
function openCandidates(middle: f32, steps: i32, delta: f32, range: f32): void {
  let step = f32x4.add(f32x4.splat(-<f32>steps), f32x4(0, 1, 2, 3));
  for (let c: usize = 0; c < <usize>(2 * steps + 1) << 2; c += 16) {
    const numerator = f32x4.add(f32x4.splat(middle), f32x4.mul(step, f32x4.splat(delta)));
    const inverse = f32x4.div(numerator, f32x4.splat(range));
    v128.store(inverses + c, inverse);
    v128.store(SCALES + c, f32x4.div(f32x4.splat(1), inverse));
    step = f32x4.add(step, f32x4.splat(4));
  }
}

/**
 * Numbers of the points that the levels of a group make, for each candidate: levels are
 * nearest_int((inverse * x - 1) / 2), clamped. Adding twice nearest_int's constant to twice its argument leaves the
 * same bits in the mantissa.
 */
// @ts-ignore: decorator
@inline
function numberLevels(radix: i32, x: usize, count: i32, to: usize): void {
  // What the offset 0x400000 of each level adds to the number.
  const surplus = i32x4.splat(0x400000 * ((pointsOf(radix) - 1) / (radix - 1)));
  for (let c: usize = 0; c < <usize>count << 2; c += 16) {
    const inverse = v128.load(inverses + c);
    let number = i32x4.splat(0);
    if (radix == 3) {
      number = appendFour(number, 3, inverse, x + 16);
      number = appendFour(number, 3, inverse, x);
    } else {
      number = appendFour(number, 8, inverse, x);
    }
    v128.store(to + c, i32x4.sub(number, surplus));
  }
}

/** Appends the levels of four weights, the last first, each more than it is by 0x400000. */
// @ts-ignore: decorator
@inline
function appendFour(number: v128, radix: i32, inverse: v128, x: usize): v128 {
  number = append(number, radix, inverse, v128.load32_splat(x, 12));
  number = append(number, radix, inverse, v128.load32_splat(x, 8));
  number = append(number, radix, inverse, v128.load32_splat(x, 4));
  return append(number, radix, inverse, v128.load32_splat(x));
}

// @ts-ignore: decorator
@inline
function append(number: v128, radix: i32, inverse: v128, x: v128): v128 {
  const twice = f32x4.sub(f32x4.mul(inverse, x), f32x4.splat(1));
  const nearest = v128.and(f32x4.add(twice, f32x4.splat(2 * ROUNDER)), i32x4.splat(0x7fffff));
  const level = i32x4.min_s(i32x4.max_s(nearest, i32x4.splat(0x400000)), i32x4.splat(0x400000 + radix - 1));
  return i32x4.add(radix == 3 ? i32x4.add(i32x4.add(number, number), number) : i32x4.shl(number, 3), level);
}

/** Members for a group at each candidate, from its numbers; `group` is its place in `numbers` and `members`. */
// @ts-ignore: decorator
@inline
function chooseMembers(book: usize, dimensions: usize, x: usize, w: usize, count: i32, group: usize): void {
  const end = <usize>count << 2;
  for (let from: usize = 0; from < end; ) {
    const number = load<i32>(numbers + group + from);
    let to = from + 4;
    while (to < end && load<i32>(numbers + group + to) == number) to += 4;
    const entry = load<i32>(book + (<usize>number << 2), MAP);
    if (entry >= 0) {
      const code = load<u32>(book + (<usize>entry << 2), CODES);
      for (let c = from; c < to; c += 4) store<u32>(members + group + c, code);
    } else {
      chooseNeighbours(dimensions, <usize>-entry, x, w, from, to, members + group);
    }
    from = to;
  }
}

/** Moments of the sub-block whose weights begin `at` bytes into the super-block, for the four candidates at c. */
function addMoments(dimensions: usize, groups: usize, at: usize, c: usize): void {
  let qx = f32x4.splat(0), qq = f32x4.splat(0);
  for (let k: usize = 0; k < groups; k++) {
    let codes = v128.load(members + (k << 7) + c);
    for (const end = at + (dimensions << 2); at < end; at += 16) {
      const q0 = coordinates(codes, 0), q1 = coordinates(codes, 1);
      const q2 = coordinates(codes, 2), q3 = coordinates(codes, 3);
      qx = f32x4.add(qx, f32x4.mul(v128.load32_splat(products + at), q0));
      qx = f32x4.add(qx, f32x4.mul(v128.load32_splat(products + at, 4), q1));
      qx = f32x4.add(qx, f32x4.mul(v128.load32_splat(products + at, 8), q2));
      qx = f32x4.add(qx, f32x4.mul(v128.load32_splat(products + at, 12), q3));
      qq = f32x4.add(qq, f32x4.mul(f32x4.mul(v128.load32_splat(weights + at), q0), q0));
      qq = f32x4.add(qq, f32x4.mul(f32x4.mul(v128.load32_splat(weights + at, 4), q1), q1));
      qq = f32x4.add(qq, f32x4.mul(f32x4.mul(v128.load32_splat(weights + at, 8), q2), q2));
      qq = f32x4.add(qq, f32x4.mul(f32x4.mul(v128.load32_splat(weights + at, 12), q3), q3));
      codes = i32x4.shr_u(codes, 16);
    }
  }
  v128.store(momentsQX + c, qx);
  v128.store(momentsQQ + c, qq);
}

/**
 * Fills `choices` with the members of the winning candidate (-1: the first member for all groups), codes groups again
 * as `recode` says, and returns the scale then.
 */
function recodeGroups(
  book: usize, radix: i32, groups: usize, at: usize, winner: i32, scale: f32, recode: Recode,
): f32 {
  let inexact = 0; // bit k is set for group k
  for (let k: usize = 0; k < groups; k++) {
    let exact = recode == Recode.Inexact;
    let code = load<u32>(book, CODES);
    if (winner >= 0) {
      const column = (k << 7) + <usize>winner;
      exact = load<i32>(book + (<usize>load<i32>(numbers + column) << 2), MAP) >= 0;
      code = load<u32>(members + column);
    }
    store<u32>(choices + (k << 2), code);
    if (!exact) inexact |= 1 << <i32>k;
  }
  if (!(scale > 0) || (recode != Recode.All && inexact == 0)) return scale;

  const dimensions: usize = radix == 3 ? 8 : 4;
  const inverse = <f32>1 / scale;
  for (let k: usize = 0; k < groups; k++) {
    if (recode != Recode.Inexact || ((inexact >> <i32>k) & 1) != 0) {
      const group = at + (k * dimensions << 2);
      const number = numberAt(radix, magnitudes + group, inverse);
      const entry = load<i32>(book + (<usize>number << 2), MAP);
      store<u32>(
        choices + (k << 2),
        entry >= 0
          ? load<u32>(book + (<usize>entry << 2), CODES)
          : nearestExactly(dimensions, <usize>-entry, magnitudes + group, roots + group, scale),
      );
    }
    store<u32>(members + (k << 7), load<u32>(choices + (k << 2)));
  }
  addMoments(dimensions, groups, at, 0);
  const qq = load<f32>(momentsQQ);
  return qq > 0 ? load<f32>(momentsQX) / qq : scale;
}

/** Number of the point that the levels of a group make at one inverse scale. */
function numberAt(radix: i32, x: usize, inverse: f32): i32 {
  let number = 0;
  for (let i = radix == 3 ? 28 : 12; i >= 0; i -= 4) {
    const level = nearestInt(0.5 * (inverse * load<f32>(x + <usize>i) - 1));
    number = number * radix + max(0, min(radix - 1, level));
  }
  return number;
}

/**
 * Codes the scales of `parts` sub-blocks to LEVELS: nearest_int((scale / d - 1) / 2) within 0..15, where d is the
 * largest / 31. Returns the largest; when that is 0, so are the levels.
 */
export function codeScales(parts: usize): f32 {
  let largest: f32 = 0;
  for (let j: usize = 0; j < parts << 2; j += 4) {
    const scale = load<f32>(PART_SCALES + j);
    if (scale > largest) largest = scale;
  }
  let inverse: f32 = 0;
  if (largest != 0) inverse = <f32>1 / (largest / 31);
  for (let j: usize = 0; j < parts; j++) {
    const scale = max<f32>(0, load<f32>(PART_SCALES + (j << 2)));
    store<u8>(LEVELS + j, <u8>max(0, min(15, nearestInt(0.5 * (inverse * scale - 1)))));
  }
  return largest;
}
