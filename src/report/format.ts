/** Numbers for people: three significant digits and a unit. Exact values are in the JSON. */
import { threeDigits } from '../core/units.ts';

export { formatBytes } from '../core/units.ts';

/** Decimal multiples: "950", "3.72 M", "8.03 B" (10^9). */
export function formatCount(count: number): string {
  const units = ['', ' k', ' M', ' B', ' T'];
  let value = count;
  let unit = 0;
  while (Math.abs(value) >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return unit === 0 ? String(Math.round(value)) : `${threeDigits(value)}${units[unit]}`;
}

/** "0", "4.31e-3", "inf". */
export const formatError = (value: number | null): string =>
  value === null || !Number.isFinite(value) ? 'inf' : value === 0 ? '0' : value.toExponential(2);

/** A share of a whole, 0 to 1: "0.391 %". */
export const formatShare = (share: number): string => `${(100 * share).toPrecision(3)} %`;

/** A weight, or the width of a bin: three digits, without an exponent where that is short. */
export function formatWeight(value: number): string {
  const magnitude = Math.abs(value);
  return magnitude === 0 || (magnitude >= 1e-4 && magnitude < 1e5)
    ? String(Number(value.toPrecision(3)))
    : value.toExponential(2);
}

/** A ratio in dB: "23.7", "exact" for an infinite one. */
export const formatDb = (metrics: { sqnrDb: number | null; mse: number }): string =>
  metrics.mse === 0
    ? 'exact'
    : Number.isFinite(metrics.sqnrDb ?? Number.NaN)
      ? metrics.sqnrDb!.toFixed(1)
      : '-inf';

/** "0.8 s", "42 s", "3 min 05 s", "2 h 04 min". */
export function formatSeconds(seconds: number): string {
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  const two = (value: number) => String(value).padStart(2, '0');
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  return `${Math.floor(whole / 3600)} h ${two(Math.floor(whole / 60) % 60)} min`;
}

/** "[4096, 32000]". */
export const formatShape = (shape: readonly number[]): string => `[${shape.join(', ')}]`;

/** Text from a file, made safe for a terminal: control characters become U+FFFD. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is replaced
export const printable = (text: string): string => text.replace(/[\u0000-\u001f\u007f-\u009f]/g, '\ufffd');

/** At most `width` characters; what is cut is the middle. */
export function shorten(text: string, width: number): string {
  if (text.length <= width) return text;
  const head = Math.floor((width - 1) / 3);
  return `${text.slice(0, head)}…${text.slice(text.length - (width - 1 - head))}`;
}

/**
 * The name of a tensor in at most `width` characters: its longest words give way first, the numbers of layers and
 * experts never, so that a name of many numbers may stay longer.
 */
export function shortenName(name: string, width: number): string {
  const segments = name.split('.');
  const widths = segments.map((segment) => segment.length);
  for (let excess = name.length - width; excess > 0; excess--) {
    const words = [...segments.keys()].filter((i) => widths[i] > 1 && !/^\d+$/.test(segments[i]));
    if (words.length === 0) break;
    widths[words.reduce((longest, i) => (widths[i] > widths[longest] ? i : longest))]--;
  }
  return segments.map((segment, i) => shorten(segment, widths[i])).join('.');
}
