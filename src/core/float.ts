/**
 * Float16 and bfloat16 on single numbers, rounding to nearest, ties to even: what the kernels do to whole rows,
 * written to be read. `Math.f16round` does not exist on the oldest Node this package supports.
 */

const f32 = new Float32Array(1);
const u32 = new Uint32Array(f32.buffer);

/** Bits of a float32 value as an unsigned integer. */
export function floatBits(value: number): number {
  f32[0] = value;
  return u32[0];
}

/** The float32 value with these bits. */
function floatFromBits(bits: number): number {
  u32[0] = bits;
  return f32[0];
}

/**
 * float32 to float16 bits. Agrees with `ggml_compute_fp32_to_fp16`: overflow becomes infinity, every NaN becomes
 * sign | 0x7e00.
 */
export function toFloat16(value: number): number {
  const bits = floatBits(value);
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x47800000) return sign | 0x7c00; // 2^16 and above: infinity
  if (magnitude < 0x38800000) {
    // Below 2^-14 the result is subnormal: units of 2^-24. Adding 2^-1 (whose float32 ulp is 2^-24) rounds to them.
    return sign | (floatBits(floatFromBits(magnitude) + 0.5) - 0x3f000000);
  }
  const roundedToEven = magnitude + 0xfff + ((magnitude >>> 13) & 1);
  return sign | ((roundedToEven - 0x38000000) >>> 13);
}

/** float16 bits to the exact number. */
export function fromFloat16(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >>> 10) & 0x1f;
  const mantissa = half & 0x3ff;
  if (exponent === 0) return sign * mantissa * 2 ** -24;
  if (exponent === 31) return mantissa ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (1 + mantissa / 1024) * 2 ** (exponent - 15);
}

/** float32 to bfloat16 bits, as `ggml_compute_fp32_to_bf16`: a NaN is made quiet, keeping its upper bits. */
export function toBfloat16(value: number): number {
  const bits = floatBits(value);
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 64;
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}

/** bfloat16 bits to the exact number. */
export const fromBfloat16 = (bits: number): number => floatFromBits((bits << 16) >>> 0);

/** The least and the largest finite float16 above 0. */
export const FLOAT16_LEAST = 2 ** -24;
export const FLOAT16_MOST = 65_504;

/** The float16 value nearest to a float32, as a number: `fromFloat16(toFloat16(value))`. */
export function roundToFloat16(value: number): number {
  const bits = floatBits(value);
  const magnitude = bits & 0x7fffffff;
  // Subnormals, and what rounds to infinity or is none.
  if (magnitude < 0x38800000 || magnitude >= 0x477ff000) return fromFloat16(toFloat16(value));
  return floatFromBits((bits + 0xfff + ((bits >>> 13) & 1)) & ~0x1fff);
}
