import { floatBits } from '../../core/float.ts';

/**
 * ggml's nearest_int: to nearest, half to even, by adding 1.5 * 2^23 and reading the mantissa. Beyond |v| = 4194303
 * the mantissa no longer holds the integer; what it then holds is kept, because ggml's files hold it too. 0 for NaN.
 */
export const nearestInt = (v: number): number => (floatBits(Math.fround(v + 12582912)) & 0x7fffff) - 0x400000;

/** nearestInt clamped to the codes 0..top. */
export const nearestCode = (v: number, top: number): number => Math.max(0, Math.min(top, nearestInt(v)));
