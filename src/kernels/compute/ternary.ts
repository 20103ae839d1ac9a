/**
 * BitLinear (BitNet b1.58, arXiv 2402.17764): products of int8 activations with weights of -1, 0 and 1, by additions and
 * subtractions of bytes alone. Weights lie as masks: for each 16 columns 16 bytes that say whose sign is changed (-1 or 0), then
 * 16 that say which count (-1 or 0).
 */

/**
 * Masks of `rows` rows of n float32, n a multiple of `block` and that of 16, and the scale of each block, the largest
 * magnitude in it. Returns how many weights are not 0, or -1 where a weight is neither 0 nor its block's scale of either sign.
 */
export function ternaryMasks(w: usize, rows: i32, n: i32, block: i32, masks: usize, scales: usize): f64 {
  let counted: f64 = 0;
  for (let row = 0; row < rows; row++) {
    for (let first = 0; first < n; first += block) {
      let scale: f32 = 0;
      for (let i = 0; i < block; i++) scale = max<f32>(scale, abs<f32>(load<f32>(w + ((<usize>i) << 2))));
      store<f32>(scales, scale);
      scales += 4;
      for (let i = 0; i < block; i++) {
        const value = load<f32>(w + ((<usize>i) << 2));
        const magnitude = abs<f32>(value);
        if (magnitude != 0 && magnitude != scale) return -1;
        const at = masks + ((<usize>(i & ~15)) << 1) + <usize>(i & 15);
        store<i8>(at, value < 0 ? -1 : 0);
        store<i8>(at, magnitude != 0 ? -1 : 0, 16);
        if (magnitude != 0) counted++;
      }
      w += (<usize>block) << 2;
      masks += (<usize>block) << 1;
    }
  }
  return counted;
}

/** Tokens that share each load of a mask. */
const TOKENS: i32 = 4;

/**
 * C (m x n, ldc floats from row to row) = scales of tokens * codes (m x k int8) times weights (n x k, masks and scales of blocks
 * of at most 256), or added to C. In the loop over columns nothing is multiplied. If all blocks have one scale, `shared`, the
 * sum over a row is one integer, scaled once; else (0) each block's is.
 */
export function ternaryProduct(
  m: i32,
  n: i32,
  k: i32,
  codes: usize,
  tokenScales: usize,
  masks: usize,
  blockScales: usize,
  block: i32,
  shared: f32,
  c: usize,
  ldc: i32,
  accumulate: bool,
): void {
  const blocks = k / block;
  for (let token = 0; token < m; token += TOKENS) {
    const count = min(TOKENS, m - token);
    // Rows beyond the last are read again in place of those that are not there.
    const x0 = codes + <usize>token * k;
    const stride = <usize>k;
    const x1 = x0 + (count > 1 ? stride : 0);
    const x2 = x0 + (count > 2 ? 2 * stride : 0);
    const x3 = x0 + (count > 3 ? 3 * stride : 0);
    for (let row = 0; row < n; row++) {
      let mask = masks + ((<usize>row * k) << 1);
      let total0 = i32x4.splat(0), total1 = total0, total2 = total0, total3 = total0;
      let sum0 = f32x4.splat(0), sum1 = sum0, sum2 = sum0, sum3 = sum0;
      for (let b = 0; b < blocks; b++) {
        let part0 = i16x8.splat(0), part1 = part0, part2 = part0, part3 = part0;
        const start = <usize>b * block;
        for (let i = start; i < start + block; i += 16) {
          const sign = v128.load(mask), counts = v128.load(mask, 16);
          mask += 32;
          part0 = i16x8.add(part0, signed(v128.load(x0 + i), sign, counts));
          part1 = i16x8.add(part1, signed(v128.load(x1 + i), sign, counts));
          part2 = i16x8.add(part2, signed(v128.load(x2 + i), sign, counts));
          part3 = i16x8.add(part3, signed(v128.load(x3 + i), sign, counts));
        }
        const whole0 = i32x4.extadd_pairwise_i16x8_s(part0), whole1 = i32x4.extadd_pairwise_i16x8_s(part1);
        const whole2 = i32x4.extadd_pairwise_i16x8_s(part2), whole3 = i32x4.extadd_pairwise_i16x8_s(part3);
        if (shared != 0) {
          total0 = i32x4.add(total0, whole0);
          total1 = i32x4.add(total1, whole1);
          total2 = i32x4.add(total2, whole2);
          total3 = i32x4.add(total3, whole3);
        } else {
          const scale = v128.load32_splat(blockScales + ((<usize>row * blocks + b) << 2));
          sum0 = f32x4.add(sum0, f32x4.mul(f32x4.convert_i32x4_s(whole0), scale));
          sum1 = f32x4.add(sum1, f32x4.mul(f32x4.convert_i32x4_s(whole1), scale));
          sum2 = f32x4.add(sum2, f32x4.mul(f32x4.convert_i32x4_s(whole2), scale));
          sum3 = f32x4.add(sum3, f32x4.mul(f32x4.convert_i32x4_s(whole3), scale));
        }
      }
      const to = c + ((<usize>token * ldc + row) << 2);
      const step = (<usize>ldc) << 2;
      const own = tokenScales + ((<usize>token) << 2);
      if (shared != 0) {
        put(to, <f32>across(total0) * shared * load<f32>(own), accumulate);
        if (count > 1) put(to + step, <f32>across(total1) * shared * load<f32>(own, 4), accumulate);
        if (count > 2) put(to + 2 * step, <f32>across(total2) * shared * load<f32>(own, 8), accumulate);
        if (count > 3) put(to + 3 * step, <f32>across(total3) * shared * load<f32>(own, 12), accumulate);
      } else {
        put(to, acrossFloats(sum0) * load<f32>(own), accumulate);
        if (count > 1) put(to + step, acrossFloats(sum1) * load<f32>(own, 4), accumulate);
        if (count > 2) put(to + 2 * step, acrossFloats(sum2) * load<f32>(own, 8), accumulate);
        if (count > 3) put(to + 3 * step, acrossFloats(sum3) * load<f32>(own, 12), accumulate);
      }
    }
  }
}

/** Sixteen codes of -127..127 with their signs changed where `sign` is -1, 0 where `counts` is 0; sums of neighbours. */
// @ts-ignore: decorator
@inline
function signed(codes: v128, sign: v128, counts: v128): v128 {
  return i16x8.extadd_pairwise_i8x16_s(v128.and(i8x16.sub(v128.xor(codes, sign), sign), counts));
}

// @ts-ignore: decorator
@inline
function across(x: v128): i32 {
  return (
    i32x4.extract_lane(x, 0) + i32x4.extract_lane(x, 1) + (i32x4.extract_lane(x, 2) + i32x4.extract_lane(x, 3))
  );
}

// @ts-ignore: decorator
@inline
function acrossFloats(x: v128): f32 {
  return (
    f32x4.extract_lane(x, 0) + f32x4.extract_lane(x, 1) + (f32x4.extract_lane(x, 2) + f32x4.extract_lane(x, 3))
  );
}

// @ts-ignore: decorator
@inline
function put(to: usize, value: f32, accumulate: bool): void {
  store<f32>(to, accumulate ? load<f32>(to) + value : value);
}
