import Table from 'cli-table3';
import type { Evaluation } from '../core/evaluation.ts';
import { percent, withError } from './evaluation.ts';
import {
  formatBytes,
  formatDb,
  formatError,
  formatShape,
  printable,
  shorten,
  shortenName,
} from './format.ts';
import { worstFirst } from './rank.ts';
import type { ReportedMetrics, ReportedTensor } from './report.ts';

/** Rows of the error table without --verbose. */
export const WORST_TENSORS = 10;
/** Characters a text is cut to at most, while something else can give way. */
const NARROWEST = 12;

export interface Column {
  readonly head: string;
  readonly align?: 'left' | 'right';
  /** Left out when a row would be too wide: the smallest number first. */
  readonly drop?: number;
  /** Cut when a row would be too wide: before any column is left out, or only after all of `drop` are. */
  readonly cut?: 'early' | 'late';
  /** Texts are names of tensors, whose numbers are never cut. */
  readonly names?: boolean;
}

/** How a table is drawn. */
export interface TableStyle {
  /** Bold head, by ANSI codes. */
  readonly color: boolean;
  /** Characters a line may take; Infinity where nothing is to be left out. */
  readonly width: number;
}

const plain: TableStyle = { color: false, width: Number.POSITIVE_INFINITY };

/** A table without frame, a line under its head. */
export function renderTable(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  { color, width: limit }: TableStyle = plain,
): string {
  const texts = rows.map((row) => row.map(printable));
  const natural = columns.map(({ head }, c) => Math.max(head.length, ...texts.map((row) => row[c].length)));
  const shown = fitColumns(columns, natural, limit);
  const clip = (row: readonly string[]) =>
    shown.map(({ column, index, width }) => (column.names ? shortenName : shorten)(row[index], width));
  const table = new Table({
    head: clip(columns.map(({ head }) => head)).map((head) => (color ? `\u001b[1m${head}\u001b[22m` : head)),
    colAligns: shown.map(({ column }) => column.align ?? 'left'),
    style: { head: [], border: [], compact: true, 'padding-left': 0, 'padding-right': 0 },
    chars: frameless,
  });
  table.push(...texts.map(clip));
  const lines = table.toString().split('\n');
  return lines.map((line) => line.trimEnd()).join('\n');
}

/** The columns to show and their widths, so that a row takes at most `limit` characters where that is possible. */
function fitColumns(columns: readonly Column[], natural: readonly number[], limit: number) {
  let shown = columns.map((column, index) => ({ column, index, width: natural[index] }));
  const excess = () => shown.reduce((total, { width }) => total + width + 2, -2) - limit;
  const narrowest = (width: number) => Math.min(width, NARROWEST);
  const droppable = shown.filter(({ column }) => column.drop !== undefined);
  droppable.sort((a, b) => a.column.drop! - b.column.drop!);
  for (const next of droppable) {
    const slack = shown.reduce(
      (total, { column, width }) => total + (column.cut === 'early' ? width - narrowest(width) : 0),
      0,
    );
    if (excess() <= slack) break;
    shown = shown.filter((each) => each !== next);
  }
  for (const turn of ['early', 'late']) {
    for (const each of shown) {
      if (each.column.cut !== turn) continue;
      each.width = Math.max(narrowest(each.width), each.width - Math.max(0, excess()));
    }
  }
  return shown;
}

const frameless = {
  top: '',
  'top-mid': '',
  'top-left': '',
  'top-right': '',
  bottom: '',
  'bottom-mid': '',
  'bottom-left': '',
  'bottom-right': '',
  left: '',
  'left-mid': '',
  mid: '─',
  'mid-mid': '──',
  right: '',
  'right-mid': '',
  middle: '  ',
};

export const tensorColumn: Column = { head: 'tensor', cut: 'late', names: true };

const metricColumns: readonly Column[] = [
  { head: 'rel. error', align: 'right' },
  { head: 'SQNR dB', align: 'right' },
  { head: 'RMSE', align: 'right', drop: 1 },
  { head: 'max |e|', align: 'right', drop: 4 },
  { head: 'cosine', align: 'right', drop: 2 },
];

const metricCells = (metrics: ReportedMetrics): string[] => [
  formatError(metrics.relativeError),
  formatDb(metrics),
  formatError(metrics.rmse),
  formatError(metrics.maxError.value),
  metrics.cosine.toFixed(5),
];

const outputErrorColumns: readonly Column[] = [
  { head: 'out. error', align: 'right', drop: 6 },
  { head: 'of nearest', align: 'right', drop: 5 },
];

/** Output error as written, and its share of the error of plain coding. */
const outputErrorCells = ({ calibration }: ReportedTensor): string[] => {
  if (calibration === null) return ['', ''];
  const { nearest, result } = calibration.outputError;
  return [formatError(result), nearest ? `${((100 * result) / nearest).toFixed(0)} %` : ''];
};

/** The error table: worst tensors first, `limit` of them. */
export function renderTensors(tensors: readonly ReportedTensor[], limit: number, style = plain): string {
  const calibrated = tensors.some(({ calibration }) => calibration !== null);
  return renderTable(
    [
      tensorColumn,
      { head: 'type' },
      { head: 'bits', align: 'right' },
      { head: 'size', align: 'right', drop: 3 },
      ...metricColumns,
      ...(calibrated ? outputErrorColumns : []),
    ],
    worstFirst(tensors)
      .slice(0, limit)
      .map((tensor) => [
        tensor.name,
        tensor.type,
        tensor.bitsPerWeight.toFixed(2),
        formatBytes(tensor.bytesAfter),
        ...metricCells(tensor.metrics),
        ...(calibrated ? outputErrorCells(tensor) : []),
      ]),
    style,
  );
}

/** One compared tensor a row. */
export function renderComparison(
  tensors: readonly { name: string; a: string; b: string; metrics: ReportedMetrics }[],
  style = plain,
): string {
  return renderTable(
    [tensorColumn, { head: 'A' }, { head: 'B' }, ...metricColumns],
    worstFirst(tensors).map(({ name, a, b, metrics }) => [name, a, b, ...metricCells(metrics)]),
    style,
  );
}

/** Shape and type of every tensor of a plan. */
export function renderPlan(
  tensors: readonly { name: string; type: string; shape: readonly number[]; bytes: number; reason: string }[],
  style = plain,
): string {
  return renderTable(
    [
      tensorColumn,
      { head: 'type' },
      { head: 'shape', drop: 2 },
      { head: 'size', align: 'right', drop: 1 },
      { head: 'reason', cut: 'early' },
    ],
    tensors.map(({ name, type, shape, bytes, reason }) => [
      name,
      type,
      formatShape(shape),
      formatBytes(bytes),
      reason,
    ]),
    style,
  );
}

/** Every figure of an evaluation against a base, one a row. */
export function renderDivergence(
  { perplexity, standardError }: Evaluation,
  base: NonNullable<Evaluation['base']>,
  style = plain,
): string {
  const { divergence } = base;
  return renderTable(
    [{ head: 'figure' }, { head: 'value', align: 'right' }, { head: 'unit', drop: 1 }],
    [
      ['perplexity', withError(perplexity, standardError, 4), ''],
      ['perplexity of the base', base.perplexity.toFixed(4), ''],
      [
        'KL divergence, mean',
        `${formatError(divergence.mean)} ± ${formatError(divergence.standardError)}`,
        'nat',
      ],
      ...(
        [
          ['median', divergence.median],
          ['90 %', divergence.p90],
          ['99 %', divergence.p99],
          ['99.9 %', divergence.p999],
          ['largest', divergence.max],
        ] as const
      ).map(([name, value]) => [`KL divergence, ${name}`, formatError(value), 'nat']),
      ['same top token', percent(base.topAgreement), ''],
    ],
    style,
  );
}
