import { FLOAT16_MOST, toFloat16 } from '../../core/float.ts';
import { dataTypes, type TypeName } from '../../core/types.ts';
import type { BlockParts } from '../format/codec.ts';
import { packers } from '../format/index.ts';
import { IQ4_LEVELS } from '../format/iq4.ts';

/** Columns that are coded together: a super-block, or eight blocks of 32. A row's last group may be shorter. */
export const GROUP_WIDTH = 256;

/** How the scales, or the minima, of sub-blocks are stored. */
export type Stored =
  /** Each is a float16 of its own. */
  | { readonly kind: 'half' }
  /** Each is an integer low..high, times a float16 that the whole block shares. */
  | { readonly kind: 'integer'; readonly low: number; readonly high: number };

/**
 * What the codes of a type can stand for: a weight decodes to scale * level + offset, with level a number of low..high or of
 * a table, and scale and offset those of its sub-block.
 */
export interface Grid {
  readonly type: TypeName;
  /** Weights that share a scale. */
  readonly sub: number;
  readonly low: number;
  readonly high: number;
  /** The levels, where they are not the integers low..high. */
  readonly table: readonly number[] | null;
  readonly scale: Stored;
  /** null where offsets are 0; under 'integer' they are never positive: -(dmin * min). */
  readonly min: Stored | null;
}

const half: Stored = { kind: 'half' };
const integer = (low: number, high: number): Stored => ({ kind: 'integer', low, high });

const rows: readonly (readonly [
  TypeName,
  sub: number,
  low: number,
  high: number,
  Stored,
  min?: Stored | null,
  table?: readonly number[],
])[] = [
  ['Q4_0', 32, -8, 7, half],
  ['Q4_1', 32, 0, 15, half, half],
  ['Q5_0', 32, -16, 15, half],
  ['Q5_1', 32, 0, 31, half, half],
  ['Q8_0', 32, -127, 127, half],
  ['Q2_K', 16, 0, 3, integer(0, 15), integer(0, 15)],
  ['Q3_K', 16, -4, 3, integer(-32, 31)],
  ['Q4_K', 32, 0, 15, integer(0, 63), integer(0, 63)],
  ['Q5_K', 32, 0, 31, integer(0, 63), integer(0, 63)],
  ['Q6_K', 16, -32, 31, integer(-128, 127)],
  ['IQ4_NL', 32, -127, 113, half, null, IQ4_LEVELS],
  ['IQ4_XS', 32, -127, 113, integer(-32, 31), null, IQ4_LEVELS],
  ['TQ1_0', 256, -1, 1, half],
  ['TQ2_0', 256, -1, 1, half],
];

const grids = new Map(
  rows.map(([type, sub, low, high, scale, min = null, table = null]): [TypeName, Grid] => [
    type,
    { type, sub, low, high, table, scale, min },
  ]),
);

/** The grid of a type; undefined for a type whose codes cannot be chosen one weight at a time, and for plain numbers. */
export const gridOf = (type: TypeName): Grid | undefined => grids.get(type);

/** The largest magnitude that anything decodes to: beyond it no scale is stored. */
export function reachOf({ low, high, scale }: Grid): number {
  const most = (a: number, b: number) => Math.max(Math.abs(a), Math.abs(b));
  return FLOAT16_MOST * (scale.kind === 'integer' ? most(scale.low, scale.high) : 1) * most(low, high);
}

/** Writes a grid's table of levels (192 bytes, see BlockKernels) to an address and returns that; 0 where there is none. */
export function writeTable(buffer: ArrayBufferLike, address: number, { table }: Grid): number {
  if (table === null) return 0;
  const steps = table.slice(1).map((value, i) => value - table[i]);
  const floats = new Float32Array(buffer, address, 48);
  floats.set(table);
  floats.set(
    steps.map((step, i) => table[i] + step / 2),
    16,
  );
  floats.set(steps, 32);
  return address;
}

/**
 * The scales of one row's group of columns as they will be stored: scale s = d * scales[s] and offset s = -(dmin * mins[s]).
 * Under 'half' d is 1 and the scales are float16 values; minima then go with dmin = -1, as Q4_1 adds its minimum.
 */
export interface GroupScales {
  d: number;
  dmin: number;
  readonly scales: Float64Array;
  readonly mins: Float64Array;
}

export const newGroupScales = ({ min }: Grid): GroupScales => ({
  d: 1,
  dmin: min?.kind === 'half' ? -1 : 1,
  scales: new Float64Array(16),
  mins: new Float64Array(16),
});

export function copyGroupScales(from: GroupScales, to: GroupScales): void {
  to.d = from.d;
  to.dmin = from.dmin;
  to.scales.set(from.scales);
  to.mins.set(from.mins);
}

/** What a decoder multiplies levels with, float32. */
export const scaleOf = ({ d, scales }: GroupScales, s: number): number => Math.fround(d * scales[s]);

/** What a decoder adds, float32; -0, which changes no number, where it adds nothing. */
export const offsetOf = ({ dmin, mins }: GroupScales, s: number): number => -Math.fround(dmin * mins[s]);

/** Code of each level of a grid, as the packers expect it. */
function codeOfLevel({ type, low, table }: Grid): (level: number) => number {
  if (table !== null) {
    const codes = new Map(table.map((level, code) => [level, code]));
    return (level) => codes.get(level)!;
  }
  return type === 'Q8_0' ? (level) => level & 255 : (level) => level - low;
}

/** Packs one group of columns of one row into ggml's bytes. */
export function groupPacker(
  grid: Grid,
): (scales: GroupScales, levels: Float32Array, bytes: Uint8Array) => void {
  const { blockSize, typeSize } = dataTypes[grid.type];
  const pack = packers[grid.type]!;
  const subs = blockSize / grid.sub;
  const codeOf = codeOfLevel(grid);
  // Q3_K and IQ4_XS store their signed scales with a bias of 32, Q6_K in two's complement.
  const bias = grid.scale.kind === 'integer' && grid.scale.low === -32 ? 32 : 0;
  const parts: BlockParts = {
    d: 0,
    dmin: 0,
    scales: new Uint8Array(subs),
    mins: new Uint8Array(subs),
    codes: new Uint8Array(blockSize),
  };
  return (scales, levels, bytes) => {
    for (let start = 0, block = 0; start < levels.length; start += blockSize, block++) {
      if (grid.scale.kind === 'half') {
        parts.d = toFloat16(scales.scales[block]);
        parts.dmin = toFloat16(scales.mins[block]);
      } else {
        parts.d = toFloat16(scales.d);
        parts.dmin = toFloat16(scales.dmin);
        for (let s = 0; s < subs; s++) {
          parts.scales[s] = scales.scales[s] + bias;
          parts.mins[s] = scales.mins[s];
        }
      }
      for (let i = 0; i < blockSize; i++) parts.codes[i] = codeOf(levels[start + i]);
      pack(parts, bytes.subarray(block * typeSize, (block + 1) * typeSize));
    }
  };
}
