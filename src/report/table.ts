import Table from 'cli-table3';
import { formatBytes, formatDb, formatError, formatShape, printable, shorten } from './format.ts';
import { worstFirst } from './rank.ts';
import type { ReportedMetrics, ReportedTensor } from './report.ts';

/** Columns no line of ours passes. */
export const TABLE_WIDTH = 100;
/** Rows of the error table without --verbose. */
export const WORST_TENSORS = 10;
const NARROWEST = 12;

export interface Column {
  readonly head: string;
  readonly align?: 'left' | 'right';
  /** The column that gives way, its texts cut in the middle, when a row would be too wide. */
  readonly flexible?: boolean;
}

/** How a table is drawn. */
export interface TableStyle {
  /** Bold head, by ANSI codes. */
  readonly color: boolean;
  /** Characters a line may take. */
  readonly width: number;
}

const plain: TableStyle = { color: false, width: TABLE_WIDTH };

/** A table without frame, a line under its head. */
export function renderTable(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  { color, width: limit }: TableStyle = plain,
): string {
  const texts = rows.map((row) => row.map(printable));
  const widths = columns.map(({ head }, c) => Math.max(head.length, ...texts.map((row) => row[c].length)));
  const excess = widths.reduce((total, width) => total + width + 2, -2) - limit;
  const flexible = columns.findIndex((column) => column.flexible);
  if (flexible >= 0 && excess > 0) widths[flexible] = Math.max(NARROWEST, widths[flexible] - excess);
  const clip = (text: string, c: number) => shorten(text, widths[c]);
  const table = new Table({
    head: columns.map((column, c) =>
      color ? `\u001b[1m${clip(column.head, c)}\u001b[22m` : clip(column.head, c),
    ),
    colAligns: columns.map((column) => column.align ?? 'left'),
    style: { head: [], border: [], compact: true, 'padding-left': 0, 'padding-right': 0 },
    chars: frameless,
  });
  table.push(...texts.map((row) => row.map(clip)));
  const lines = table.toString().split('\n');
  return lines.map((line) => line.trimEnd()).join('\n');
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

const metricColumns: readonly Column[] = [
  { head: 'rel. error', align: 'right' },
  { head: 'SQNR dB', align: 'right' },
  { head: 'RMSE', align: 'right' },
  { head: 'max |e|', align: 'right' },
  { head: 'cosine', align: 'right' },
];

const metricCells = (metrics: ReportedMetrics): string[] => [
  formatError(metrics.relativeError),
  formatDb(metrics),
  formatError(metrics.rmse),
  formatError(metrics.maxError.value),
  metrics.cosine.toFixed(5),
];

/** The error table: worst tensors first, `limit` of them. */
export function renderTensors(tensors: readonly ReportedTensor[], limit: number, style = plain): string {
  return renderTable(
    [
      { head: 'tensor', flexible: true },
      { head: 'type' },
      { head: 'bits', align: 'right' },
      { head: 'size', align: 'right' },
      ...metricColumns,
    ],
    worstFirst(tensors)
      .slice(0, limit)
      .map((tensor) => [
        tensor.name,
        tensor.type,
        tensor.bitsPerWeight.toFixed(2),
        formatBytes(tensor.bytesAfter),
        ...metricCells(tensor.metrics),
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
    [{ head: 'tensor', flexible: true }, { head: 'A' }, { head: 'B' }, ...metricColumns],
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
      { head: 'tensor' },
      { head: 'type' },
      { head: 'shape' },
      { head: 'size', align: 'right' },
      { head: 'reason', flexible: true },
    ],
    tensors.map(({ name, type, shape, bytes, reason }) => [
      shorten(name, 40),
      type,
      formatShape(shape),
      formatBytes(bytes),
      reason,
    ]),
    style,
  );
}
