import { largestLane } from './group';
import { EPS } from './lanes';
import { nearestInts } from './nearest';

/**
 * The search for the scale of values coded without sign, x ~ scale * level with level in 0..top. Must agree with
 * `make_qp_quants` bit for bit. Candidates are side by side in the lanes while errors are added up; then the moves of
 * four levels are tried at once, and of those that would improve the fit the first is made.
 */

const inverses = memory.data(32, 16); // of the eight candidates beside top / max
const products = memory.data(128, 16); // w x, f32 for each value
const levels = memory.data(128, 16); // i32; of a negative one the lowest byte, as ggml stores it
const sums = memory.data(32, 16); // what `improving` leaves of its lanes: sum w x l, sum w l^2
const moved = memory.data(16, 16); // and the levels

/** Weighted square errors of four candidates. `bytes`: levels are kept as bytes rather than limited to `top`. */
// @ts-ignore: decorator
@inline
function errors(x: usize, w: usize, n: i32, top: i32, inverse: v128, bytes: bool): v128 {
  const scale = f32x4.div(f32x4.splat(1), inverse);
  let sum = f32x4.splat(0);
  for (let i: usize = 0; i < <usize>n << 2; i += 4) {
    const value = v128.load32_splat(x + i);
    let level = nearestInts(f32x4.mul(inverse, value));
    level = bytes ? v128.and(level, i32x4.splat(255)) : i32x4.min_s(level, i32x4.splat(top));
    const difference = f32x4.sub(value, f32x4.mul(scale, f32x4.convert_i32x4_s(level)));
    sum = f32x4.add(sum, f32x4.mul(f32x4.mul(v128.load32_splat(w + i), difference), difference));
  }
  return sum;
}

/** The inverse scale of least error, of nine around top / max; the first of equals. */
// @ts-ignore: decorator
@inline
function bestInverse(x: usize, w: usize, n: i32, top: i32, max: f32): f32 {
  const plain = <f32>top / max;
  const tops = f32x4.splat(<f32>top), range = f32x4.splat(max), tenth = f32x4.splat(0.1);
  const below = f32x4.div(f32x4.add(f32x4.mul(tenth, f32x4(-4, -3, -2, -1)), tops), range);
  const above = f32x4.div(f32x4.add(f32x4.mul(tenth, f32x4(1, 2, 3, 4)), tops), range);
  let least = f32x4.extract_lane(errors(x, w, n, top, f32x4.splat(plain), true), 0);
  v128.store(inverses, below);
  v128.store(inverses, above, 16);
  v128.store(sums, errors(x, w, n, top, below, false));
  v128.store(sums, errors(x, w, n, top, above, false), 16);
  let inverse = plain;
  for (let i: usize = 0; i < 32; i += 4) {
    const error = load<f32>(sums + i);
    if (error < least) {
      least = error;
      inverse = load<f32>(inverses + i);
    }
  }
  return inverse;
}

/**
 * Bit mask of the lanes, of four values at x, that would improve the fit by moving to their nearest level; `moved`
 * and `sums` say what it would become.
 */
// @ts-ignore: decorator
@inline
function improving(x: usize, w: usize, wx: usize, level: usize, top: i32, sumLX: f32, sumLL: f32): i32 {
  const zero = f32x4.splat(0);
  const values = v128.load(x), weights = v128.load(w), weighted = v128.load(wx), old = v128.load(level);
  const oldLevels = f32x4.convert_i32x4_s(old);
  const otherLX = f32x4.sub(f32x4.splat(sumLX), f32x4.mul(weighted, oldLevels));
  const otherLL = f32x4.sub(f32x4.splat(sumLL), f32x4.mul(f32x4.mul(weights, oldLevels), oldLevels));
  const nearest = nearestInts(f32x4.div(f32x4.mul(values, otherLL), otherLX));
  const next = i32x4.min_s(nearest, i32x4.splat(top));
  const nextLevels = f32x4.convert_i32x4_s(next);
  const lx = f32x4.add(otherLX, f32x4.mul(weighted, nextLevels));
  const ll = f32x4.add(otherLL, f32x4.mul(f32x4.mul(weights, nextLevels), nextLevels));
  v128.store(sums, lx);
  v128.store(sums, ll, 16);
  v128.store(moved, next);
  const better = f32x4.gt(
    f32x4.mul(f32x4.mul(lx, lx), f32x4.splat(sumLL)),
    f32x4.mul(f32x4.splat(sumLX * sumLX), ll),
  );
  const possible = v128.and(f32x4.gt(otherLX, zero), f32x4.gt(otherLL, zero));
  return i32x4.bitmask(v128.and(v128.and(possible, better), i32x4.ne(next, old)));
}

/** Scale of n values at x (a multiple of 4, at most 32), errors counted by the weights at w; 0 if none is positive. */
export function searchNonnegative(x: usize, w: usize, n: i32, top: i32): f32 {
  let most = f32x4.splat(0);
  for (let i: usize = 0; i < <usize>n << 2; i += 16) most = f32x4.pmax(most, v128.load(x + i));
  const max = largestLane(most);
  if (max < EPS) return 0;

  const inverse = bestInverse(x, w, n, top, max);
  for (let i: usize = 0; i < <usize>n << 2; i += 16) {
    const level = nearestInts(f32x4.mul(f32x4.splat(inverse), v128.load(x + i)));
    v128.store(levels + i, i32x4.min_s(level, i32x4.splat(top)));
    v128.store(products + i, f32x4.mul(v128.load(w + i), v128.load(x + i)));
  }
  let sumLX: f32 = 0, sumLL: f32 = 0;
  for (let i: usize = 0; i < <usize>n << 2; i += 4) {
    const level = load<i32>(levels + i);
    sumLX += load<f32>(products + i) * <f32>level;
    sumLL += load<f32>(w + i) * <f32>level * <f32>level;
    store<i32>(levels + i, level & 255);
  }

  let changed = true;
  for (let round = 0; round < 5 && changed; round++) {
    changed = false;
    for (let i: usize = 0; i < <usize>n << 2; i += 16) {
      let lanes = 15; // those whose turn is still to come
      for (;;) {
        const better = improving(x + i, w + i, products + i, levels + i, top, sumLX, sumLL) & lanes;
        if (better == 0) break;
        const lane = <usize>ctz(better) << 2;
        store<i32>(levels + i + lane, load<i32>(moved + lane) & 255);
        sumLX = load<f32>(sums + lane);
        sumLL = load<f32>(sums + lane, 16);
        lanes = -2 << ctz(better);
        changed = true;
      }
    }
  }
  return sumLL > 0 ? sumLX / sumLL : 0;
}
