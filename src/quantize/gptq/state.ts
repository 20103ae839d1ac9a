import type { TaskScope } from '../../compute/scope.ts';
import { GROUP_WIDTH, type GroupScales } from './grid.ts';

/** Where the codes of rows are kept until they are final: levels as int8, rows x n; scales as float32, in records. */
export interface CodedRows {
  readonly n: number;
  /** Addresses. */
  readonly levels: number;
  readonly scales: number;
}

/** Floats of a group's record: d, dmin, two unused, 16 scales, 16 minima. All of them are float16 values or integers. */
const RECORD = 36;
const [SCALES, MINS] = [4, 20];

const groupsOf = (n: number): number => Math.ceil(n / GROUP_WIDTH);

/** Bytes of the scales of one row. */
export const scaleBytes = (n: number): number => 4 * RECORD * groupsOf(n);

const recordOf = (scope: TaskScope, { n, scales }: CodedRows, row: number, column: number): Float32Array =>
  scope.floats(scales + 4 * RECORD * (row * groupsOf(n) + Math.floor(column / GROUP_WIDTH)), RECORD);

/** The levels of a row. */
export const levelsOf = ({ memory }: TaskScope, { n, levels }: CodedRows, row: number): Int8Array =>
  new Int8Array(memory.buffer, levels + row * n, n);

/** Keeps the scales, and `levels`, of the group that starts at a column. */
export function storeGroup(
  scope: TaskScope,
  rows: CodedRows,
  row: number,
  start: number,
  { d, dmin, scales, mins }: GroupScales,
  levels: Float32Array,
): void {
  const record = recordOf(scope, rows, row, start);
  record[0] = d;
  record[1] = dmin;
  record.set(scales, SCALES);
  record.set(mins, MINS);
  levelsOf(scope, rows, row).set(levels, start);
}

/** Inverse of storeGroup. */
export function loadGroup(
  scope: TaskScope,
  rows: CodedRows,
  row: number,
  start: number,
  group: GroupScales,
  levels: Float32Array,
): void {
  const record = recordOf(scope, rows, row, start);
  group.d = record[0];
  group.dmin = record[1];
  group.scales.set(record.subarray(SCALES, MINS));
  group.mins.set(record.subarray(MINS, RECORD));
  levels.set(levelsOf(scope, rows, row).subarray(start, start + levels.length));
}
