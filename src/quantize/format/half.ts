import { toFloat16 } from '../../core/float.ts';

/** Float16 bits of a quotient; a NaN becomes the one that x86 makes of inf / inf or 0 / 0, as in ggml's files. */
export const halfOfQuotient = (x: number): number => (Number.isNaN(x) ? 0xfe00 : toFloat16(x));
