import { EPS } from './lanes';
import { nearestInt, nearestInts } from './nearest';

const errors = memory.data(32, 16); // f32 per candidate

// @ts-ignore: decorator
@inline
function errorOf(x: v128, weight: v128, scale: v128, code: v128): v128 {
  const difference = f32x4.sub(x, f32x4.mul(scale, code));
  return f32x4.mul(f32x4.mul(weight, difference), difference);
}

// What `improving` leaves of each lane: the code it would move to, and the sums then.
const moved = memory.data(16, 16); // i32
const movedLX = memory.data(16, 16); // f32
const movedL2 = memory.data(16, 16);

/** Of four codes, bits of those that would fit better if they alone moved to the nearest code of the others' scale. */
// @ts-ignore: decorator
@inline
function improving(xs: usize, weights: usize, codes: usize, top: i32, lx: f32, l2: f32): i32 {
  const x = v128.load(xs), weight = v128.load(weights), weighted = f32x4.mul(weight, x), zero = f32x4.splat(0);
  const old = i32x4.extend_low_i16x8_u(i16x8.extend_low_i8x16_u(v128.load32_zero(codes)));
  const oldF = f32x4.convert_i32x4_s(old);
  const lxOthers = f32x4.sub(f32x4.splat(lx), f32x4.mul(weighted, oldF));
  const l2Others = f32x4.sub(f32x4.splat(l2), f32x4.mul(f32x4.mul(weight, oldF), oldF));
  const code = i32x4.min_s(nearestInts(f32x4.div(f32x4.mul(x, l2Others), lxOthers)), i32x4.splat(top));
  const codeF = f32x4.convert_i32x4_s(code);
  const lxNew = f32x4.add(lxOthers, f32x4.mul(weighted, codeF));
  const l2New = f32x4.add(l2Others, f32x4.mul(f32x4.mul(weight, codeF), codeF));
  v128.store(moved, code);
  v128.store(movedLX, lxNew);
  v128.store(movedL2, l2New);
  const better = f32x4.gt(
    f32x4.mul(f32x4.mul(lxNew, lxNew), f32x4.splat(l2)),
    f32x4.mul(f32x4.splat(lx * lx), l2New),
  );
  const possible = v128.and(f32x4.gt(lxOthers, zero), f32x4.gt(l2Others, zero));
  return i32x4.bitmask(v128.and(v128.and(possible, better), i32x4.ne(code, old)));
}

/**
 * Scale of the `count` float32 at xs, a multiple of 4 (such as the scales or minima of a super-block), xs ~ scale * code,
 * their codes of 0..top as bytes at `codes`, under `count` weights. Must agree with ggml's make_qp_quants, which keeps codes as bytes, so
 * that those of negative x wrap. The scalar twin tells what is done; here the eight candidates are lanes, and
 * moves are tried four at a time.
 */
export function searchPositive(xs: usize, weights: usize, count: usize, top: i32, codes: usize): f32 {
  let max: f32 = 0;
  for (let i: usize = 0; i < count; i++) {
    const x = load<f32>(xs + (i << 2));
    max = max > x ? max : x;
  }
  memory.fill(codes, 0, count);
  if (max < EPS) return 0;

  const first = <f32>top / max, firstScale = <f32>1 / first;
  const topF = f32x4.splat(<f32>top), step = f32x4.splat(0.1);
  const inverse0 = f32x4.div(f32x4.add(f32x4.mul(step, f32x4(-4, -3, -2, -1)), topF), f32x4.splat(max));
  const inverse1 = f32x4.div(f32x4.add(f32x4.mul(step, f32x4(1, 2, 3, 4)), topF), f32x4.splat(max));
  const scale0 = f32x4.div(f32x4.splat(1), inverse0), scale1 = f32x4.div(f32x4.splat(1), inverse1);
  const topI = i32x4.splat(top);
  let best: f32 = 0, error0 = f32x4.splat(0), error1 = error0;
  for (let i: usize = 0; i < count; i++) {
    const x = load<f32>(xs + (i << 2)), weight = load<f32>(weights + (i << 2));
    const difference = x - firstScale * <f32><u8>nearestInt(first * x);
    best += weight * difference * difference;
    const x4 = f32x4.splat(x), weight4 = f32x4.splat(weight);
    const code0 = i32x4.min_s(nearestInts(f32x4.mul(inverse0, x4)), topI);
    const code1 = i32x4.min_s(nearestInts(f32x4.mul(inverse1, x4)), topI);
    error0 = f32x4.add(error0, errorOf(x4, weight4, scale0, f32x4.convert_i32x4_s(code0)));
    error1 = f32x4.add(error1, errorOf(x4, weight4, scale1, f32x4.convert_i32x4_s(code1)));
  }
  v128.store(errors, error0);
  v128.store(errors, error1, 16);
  let inverse = first;
  for (let i = 0; i < 8; i++) {
    const error = load<f32>(errors + (<usize>i << 2));
    if (error < best) {
      best = error;
      inverse = (<f32>0.1 * <f32>(i < 4 ? i - 4 : i - 3) + <f32>top) / max;
    }
  }

  let lx: f32 = 0, l2: f32 = 0;
  for (let i: usize = 0; i < count; i++) {
    const x = load<f32>(xs + (i << 2)), weight = load<f32>(weights + (i << 2));
    const code = min(top, nearestInt(inverse * x));
    store<u8>(codes + i, <u8>code);
    lx += weight * x * <f32>code;
    l2 += weight * <f32>code * <f32>code;
  }
  for (let pass = 0, changed = true; pass < 5 && changed; pass++) {
    changed = false;
    for (let i: usize = 0; i < count; i += 4) {
      let turns = 15; // bits of the lanes whose turn is still to come
      for (;;) {
        const better = turns & improving(xs + (i << 2), weights + (i << 2), codes + i, top, lx, l2);
        if (better == 0) break;
        const lane = <usize>ctz(better);
        store<u8>(codes + i + lane, load<u8>(moved + (lane << 2)));
        lx = load<f32>(movedLX + (lane << 2));
        l2 = load<f32>(movedL2 + (lane << 2));
        turns = -2 << <i32>lane;
        changed = true;
      }
    }
  }
  return l2 > 0 ? lx / l2 : 0;
}
