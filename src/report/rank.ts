import type { ReportedMetrics } from './report.ts';

/** Tensors by relative error, worst first; equal ones keep their order. */
export const worstFirst = <T extends { readonly metrics: ReportedMetrics }>(tensors: readonly T[]): T[] =>
  [...tensors].sort((a, b) => rank(b) - rank(a));

const rank = ({ metrics }: { readonly metrics: ReportedMetrics }): number =>
  metrics.relativeError ?? Number.MAX_VALUE;
