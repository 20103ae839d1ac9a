import { html, type Markup } from './markup.ts';

/** Values to percent of the plot, with room at both ends; the middle where there is one value. */
export const scaleOf =
  (low: number, high: number) =>
  (value: number): number =>
    high > low ? percentOf(10 + (80 * (value - low)) / (high - low)) : 50;

/** Two decimals: as fine as a screen shows. */
export const percentOf = (value: number): number => Math.round(100 * value) / 100;

/**
 * A logarithmic axis from bottom to top for positive values; what is below the least of them, as 0 is, lies on the lowest line.
 */
export interface LogAxis {
  /** Percent of the plot from its bottom. */
  at(value: number): number;
  /** Lines for the powers of ten that lie between. */
  readonly lines: readonly Markup[];
}

/** An axis for some errors. */
export function logAxis(errors: readonly number[]): LogAxis {
  const known = errors.filter((error) => error > 0 && Number.isFinite(error));
  const [least, most] = known.length > 0 ? [Math.min(...known), Math.max(...known)] : [1e-3, 1];
  const y = scaleOf(Math.log(least), Math.log(most));
  const decades = Array.from({ length: 20 }, (_, i) => 10 ** (i - 15));
  const between = decades.filter((value) => known.length > 0 && value >= least && value <= most);
  return {
    at: (value) => y(Math.log(Math.min(most, Math.max(least, value)))),
    lines: between.map(
      (value) =>
        html`<span class="grid" aria-hidden="true" style="bottom:${y(Math.log(value))}%"><span>${value.toExponential(0)}</span></span>`,
    ),
  };
}
