/** C's roundf: to nearest, half away from zero. (Math.round takes halves upward.) */
export const roundAway = (x: number): number => (x < 0 ? -Math.floor(0.5 - x) : Math.floor(x + 0.5));

/** ggml's nearest_int: to nearest, half to even. */
export function roundEven(x: number): number {
  const floor = Math.floor(x);
  const fraction = x - floor;
  if (fraction !== 0.5) return Math.round(x);
  return floor % 2 === 0 ? floor : floor + 1;
}

/** Whether the float32 quotient 1 / d is finite: false for zero and for d below about 2^-128. */
export const hasReciprocal = (d: number): boolean => Number.isFinite(Math.fround(1 / d));
