import { storeScaled } from './decode';
import { largestLane, largestMagnitudes, largestOfEach } from './group';
import { integers, signedBytes } from './rounding';

/**
 * MXFP4 and NVFP4: 4-bit floating point numbers (E2M1: 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives) on a
 * shared scale. Here, as in ggml, the grid is doubled to integers and the scale d halved. Must agree with
 * `quantize_row_mxfp4_ref` and `quantize_row_nvfp4_ref`, which give each weight the first of the nearest grid
 * values: of two as near the smaller magnitude, for zero code 0.
 */

// @ts-ignore: decorator
@inline
function grid(): v128 {
  return i8x16(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);
}

/**
 * Twice |x| / d, rounded up, with the sign of x, given d / 2. The grid's midpoints, doubled, are the integers
 * 1, 3, 5, 7, 10, 14 and 20, so that all beyond 20 is alike. They times d are float32 numbers; a float32
 * above such a product is so far above that the quotient cannot round down to the midpoint.
 */
// @ts-ignore: decorator
@inline
function doubled(x: v128, halfD: v128): v128 {
  const quotient = f32x4.div(x, halfD);
  const magnitude = f32x4.pmin(f32x4.splat(21), f32x4.ceil(f32x4.abs(quotient)));
  return v128.or(magnitude, v128.and(quotient, i32x4.splat(0x80000000)));
}

/** Codes of the sixteen weights at x, given d / 2; infinity, for d = 0, gives code 0. */
// @ts-ignore: decorator
@inline
function codes(x: usize, halfD: v128): v128 {
  const q = signedBytes(
    doubled(v128.load(x), halfD),
    doubled(v128.load(x, 16), halfD),
    doubled(v128.load(x, 32), halfD),
    doubled(v128.load(x, 48), halfD),
  );
  const magnitude = i8x16.abs(q);
  let code = i8x16.swizzle(
    i8x16(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 4, 5, 5, 5, 5, 6),
    i8x16.min_u(magnitude, i8x16.splat(15)),
  );
  code = i8x16.sub(code, i8x16.gt_s(magnitude, i8x16.splat(20)));
  const zero = i8x16.splat(0);
  const negative = v128.and(i8x16.lt_s(q, zero), i8x16.gt_s(code, zero));
  return v128.or(code, v128.and(negative, i8x16.splat(8)));
}

/**
 * Exponent code of a block of MXFP4: that of 2^floor(log2(amax)) / 4, log2 as a float32. It may round up to
 * an integer that amax itself does not reach. Below 2^-125 the code wraps around, as ggml's does on x86: all
 * weights are then far below the scale.
 */
function exponentCode(amax: f32): u32 {
  if (amax == 0) return 0;
  const bits = reinterpret<u32>(amax);
  const plain = bits >= 0x00800000 && (bits & 0x007fff00) != 0x007fff00;
  const exponent = plain ? <i32>(bits >> 23) - 127 : <i32>Mathf.floor(Mathf.log2(amax));
  return <u32>(exponent + 125) & 255;
}

/** 2^(e - 128), the scale of the doubled grid. */
// @ts-ignore: decorator
@inline
function scaleOfExponent(e: u32): f32 {
  return reinterpret<f32>(e < 2 ? 0x00200000 << e : (e - 1) << 23);
}

/** A block: exponent code, then 16 bytes of two codes, the first 16 weights in the low halves. */
export function quantize_MXFP4(src: usize, dst: usize, n: i32): void {
  for (const end = src + (<usize>n << 2); src < end; src += 128, dst += 17) {
    const e = exponentCode(largestLane(largestMagnitudes(src, 8)));
    const halfD = f32x4.splat(scaleOfExponent(e) * <f32>0.5);
    store<u8>(dst, e);
    v128.store(dst, v128.or(codes(src, halfD), i16x8.shl(codes(src + 64, halfD), 4)), 1);
  }
}

export function dequantize_MXFP4(src: usize, dst: usize, n: i32): void {
  const low = i8x16.splat(15);
  for (const end = dst + (<usize>n << 2); dst < end; src += 17, dst += 128) {
    const d = f32x4.splat(scaleOfExponent(<u32>load<u8>(src)));
    const pairs = v128.load(src, 1);
    storeScaled(dst, i8x16.swizzle(grid(), v128.and(pairs, low)), d);
    storeScaled(dst + 64, i8x16.swizzle(grid(), v128.and(i16x8.shr_u(pairs, 4), low)), d);
  }
}

/**
 * Four positive float32 to UE4M3 codes, one a lane: exponent of 4 bits and bias 7, mantissa of 3 bits, half
 * away from zero. What would reach exponent 15 becomes 0x7e, 448; subnormals do not round up into the normal
 * range.
 */
// @ts-ignore: decorator
@inline
function scaleCodes(x: v128): v128 {
  const rounded = i32x4.sub(i32x4.shr_u(i32x4.add(x, i32x4.splat(1 << 19)), 20), i32x4.splat(120 << 3));
  const normal = v128.bitselect(rounded, i32x4.splat(0x7e), i32x4.lt_s(rounded, i32x4.splat(0x78)));
  const small = f32x4.lt(x, f32x4.splat(1 / 64));
  const units = f32x4.trunc(f32x4.add(f32x4.mul(v128.and(x, small), f32x4.splat(512)), f32x4.splat(0.5)));
  return v128.bitselect(i32x4.min_s(integers(units), i32x4.splat(7)), normal, small);
}

/** Half the values of four UE4M3 codes; 0x7f is 0, the highest of eight bits is ignored. */
// @ts-ignore: decorator
@inline
function scalesOfCodes(code: v128): v128 {
  const magnitude = v128.and(code, i32x4.splat(0x7f));
  const normal = i32x4.add(i32x4.shl(magnitude, 20), i32x4.splat(119 << 23));
  const subnormal = f32x4.mul(f32x4.convert_i32x4_s(magnitude), f32x4.splat(1 / 1024));
  const value = v128.bitselect(subnormal, normal, i32x4.lt_s(magnitude, i32x4.splat(8)));
  return v128.andnot(value, i32x4.eq(code, i32x4.splat(0x7f)));
}

/**
 * From here on the float32 distances of a weight to two grid values on the largest scale may round to the
 * same.
 */
const FAR: f32 = 536870912; // 2^29
const LARGEST: f32 = 224;

/**
 * ggml's choice word for word, for a sub-block beyond FAR: the first code whose float32 distance is least.
 */
function encodeFar(x: usize, dst: usize): void {
  store<u64>(dst, 0);
  for (let i: usize = 0; i < 16; i++) {
    const value = load<f32>(x + (i << 2));
    let best: u32 = 0;
    let least = Infinity as f32;
    for (let code = 0; code < 16; code++) {
      const level = i8x16.extract_lane_s(i8x16.swizzle(grid(), i8x16.splat(<i8>code)), 0);
      const distance = abs<f32>(<f32>level * LARGEST - value);
      if (distance < least) {
        least = distance;
        best = code;
      }
    }
    const at = dst + (i & 7);
    store<u8>(at, <u32>load<u8>(at) | (best << (<u32>(i >> 3) << 2)));
  }
}

/**
 * A block: UE4M3 scales of four sub-blocks of 16, then 8 bytes of two codes for each, its first 8 weights in
 * the low halves.
 */
export function quantize_NVFP4(src: usize, dst: usize, n: i32): void {
  for (const end = src + (<usize>n << 2); src < end; src += 256, dst += 36) {
    const amax = largestOfEach(
      largestMagnitudes(src, 4),
      largestMagnitudes(src + 64, 4),
      largestMagnitudes(src + 128, 4),
      largestMagnitudes(src + 192, 4),
    );
    const code = scaleCodes(f32x4.div(amax, f32x4.splat(6)));
    const d = scalesOfCodes(code);
    const none = f32x4.eq(d, f32x4.splat(0));
    const halfD = v128.bitselect(f32x4.splat(Infinity), f32x4.mul(d, f32x4.splat(0.5)), none);
    v128.store32_lane(dst, v128.shuffle<i8>(code, code, 0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), 0);
    const q0 = codes(src, v128.shuffle<i32>(halfD, halfD, 0, 0, 0, 0));
    const q1 = codes(src + 64, v128.shuffle<i32>(halfD, halfD, 1, 1, 1, 1));
    const q2 = codes(src + 128, v128.shuffle<i32>(halfD, halfD, 2, 2, 2, 2));
    const q3 = codes(src + 192, v128.shuffle<i32>(halfD, halfD, 3, 3, 3, 3));
    v128.store(dst, v128.or(v128.shuffle<i64>(q0, q1, 0, 2), i16x8.shl(v128.shuffle<i64>(q0, q1, 1, 3), 4)), 4);
    v128.store(dst, v128.or(v128.shuffle<i64>(q2, q3, 0, 2), i16x8.shl(v128.shuffle<i64>(q2, q3, 1, 3), 4)), 20);
    for (let far = i32x4.bitmask(f32x4.ge(amax, f32x4.splat(FAR))); far != 0; far &= far - 1) {
      const s = <usize>ctz(far);
      encodeFar(src + (s << 6), dst + 4 + (s << 3));
    }
  }
}

export function dequantize_NVFP4(src: usize, dst: usize, n: i32): void {
  const low = i8x16.splat(15);
  for (const end = dst + (<usize>n << 2); dst < end; src += 36) {
    const bytes = v128.load32_zero(src);
    const d = scalesOfCodes(i32x4.extend_low_i16x8_u(i16x8.extend_low_i8x16_u(bytes)));
    for (let half: usize = 0; half < 2; half++, dst += 128) {
      const pairs = v128.load(src + (half << 4), 4);
      const first = i8x16.swizzle(grid(), v128.and(pairs, low));
      const second = i8x16.swizzle(grid(), v128.and(i16x8.shr_u(pairs, 4), low));
      const scales = half == 0 ? d : v128.shuffle<i64>(d, d, 1, 0);
      storeScaled(dst, v128.shuffle<i64>(first, second, 0, 2), v128.shuffle<i32>(scales, scales, 0, 0, 0, 0));
      storeScaled(dst + 64, v128.shuffle<i64>(first, second, 1, 3), v128.shuffle<i32>(scales, scales, 1, 1, 1, 1));
    }
  }
}
