import { formatBytes, formatError } from './format.ts';
import { rangeChoice, ruleText } from './ranges.ts';
import type { Report } from './report.ts';
import { sqnr } from './summary.ts';

/** A report, and what the reader calls it. */
export interface NamedReport {
  readonly name: string;
  readonly report: Report;
}

export interface ComparedRun extends NamedReport {
  /** What quality is judged by, the smaller the better; Infinity where it is not finite. */
  readonly error: number;
  /** No other run is both as small and as good, and better in one of the two. */
  readonly best: boolean;
}

/** Runs of one model, size against quality. */
export interface Comparison {
  readonly measure: 'KL divergence' | 'relative error';
  /** Smallest file first. */
  readonly runs: readonly ComparedRun[];
  /** Why the runs may not be comparable, one sentence each. */
  readonly warnings: readonly string[];
}

/**
 * Judges runs by the KL divergence of their evaluations where all have one over the same tokens, else by the relative
 * error of their weights, and finds the Pareto front.
 */
export function compareRuns(reports: readonly NamedReport[]): Comparison {
  const texts = new Set(reports.map(({ report }) => textOf(report)));
  const evaluated = !texts.has(null) && texts.size === 1;
  const warnings: string[] = [];
  if (!evaluated && texts.size > 1) {
    warnings.push(
      texts.has(null)
        ? 'Not all runs were evaluated against a base: quality is the relative error of the weights.'
        : 'The runs were evaluated on different texts: quality is the relative error of the weights.',
    );
  }
  if (new Set(reports.map(({ report }) => report.model.weights)).size > 1) {
    warnings.push('The runs have different numbers of weights: they may not be of one model.');
  }
  const errorOf = ({ model }: Report) =>
    evaluated ? model.evaluation!.base!.divergence.mean : model.metrics.relativeError;
  const judged = reports
    .map(({ name, report }) => ({ name, report, error: errorOf(report) ?? Number.POSITIVE_INFINITY }))
    .sort((a, b) => a.report.model.fileBytes - b.report.model.fileBytes || a.error - b.error);
  const beats = (a: (typeof judged)[number], b: (typeof judged)[number]) => {
    const [sizeA, sizeB] = [a.report.model.fileBytes, b.report.model.fileBytes];
    return sizeA <= sizeB && a.error <= b.error && (sizeA < sizeB || a.error < b.error);
  };
  return {
    measure: evaluated ? 'KL divergence' : 'relative error',
    runs: judged.map((run) => ({ ...run, best: !judged.some((other) => beats(other, run)) })),
    warnings,
  };
}

/** Whether any run was evaluated: then tables have perplexity and divergence. */
export const anyEvaluated = ({ runs }: Comparison): boolean =>
  runs.some(({ report }) => report.model.evaluation !== null);

/** Whether ranges were chosen in any run: then tables have rule and granularity. */
export const anyRanged = ({ runs }: Comparison): boolean =>
  runs.some(({ report }) => rangeChoice(report.tensors) !== null);

/** Rule and granularity of a run's ranges; `absent` twice where none were chosen. */
export function rangesOfRun({ report }: ComparedRun, absent: string): [rule: string, granularity: string] {
  const choice = rangeChoice(report.tensors);
  return choice === null ? [absent, absent] : [ruleText(choice), choice.granularity];
}

/** Bits a weight, file, relative error and SQNR of a run, and where asked perplexity and divergence; `absent` where it has none. */
export function figuresOf({ report: { model } }: ComparedRun, evaluated: boolean, absent: string): string[] {
  const { bitsPerWeight, fileBytes, metrics, evaluation } = model;
  return [
    bitsPerWeight.toFixed(2),
    formatBytes(fileBytes),
    formatError(metrics.relativeError),
    sqnr(metrics),
    ...(evaluated
      ? [
          evaluation?.perplexity.toFixed(3) ?? absent,
          evaluation?.base ? formatError(evaluation.base.divergence.mean) : absent,
        ]
      : []),
  ];
}

/** The tokens a run was evaluated on, against a base; null where it was not. */
const textOf = ({ model: { evaluation } }: Report): string | null =>
  evaluation?.base ? `${evaluation.sha256} ${evaluation.context}` : null;
