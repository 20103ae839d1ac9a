import { floatBits } from '../../core/float.ts';

/**
 * ggml's `nearest_int`: the float32 sum with 1.5 * 2^23 rounds v to an integer, half to even, in its low
 * mantissa bits. Exact for |v| <= 4194303; beyond (infinities, NaN) this gives the same leftover bits as
 * ggml does.
 */
export const nearestInt = (v: number): number => (floatBits(v + 12_582_912) & 0x7fffff) - 0x400000;
