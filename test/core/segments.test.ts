import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { StoredTensor } from '../../src/core/checkpoint.ts';
import type { RowOrder } from '../../src/core/plan.ts';
import { type Segment, type StoredSource, segmentsOf } from '../../src/core/segments.ts';
import { bytesOf, dataTypes, elementsOf, type TypeName } from '../../src/core/types.ts';

/** Byte address (file, offset) of every unit (block, or single value) of the output, by the plain definition. */
function addressesOf(source: StoredSource): [file: number, offset: number][] {
  const { blockSize, typeSize } = dataTypes[source.parts[0].type];
  return source.parts.flatMap((part) => {
    const rowCount = part.shape[0] ?? 1;
    const rowUnits = elementsOf(part.shape.slice(1)) / blockSize;
    return Array.from({ length: rowCount }, (_, row) => row).flatMap((row) => {
      let stored = row;
      if (source.rows.kind === 'rotary') {
        const headSize = rowCount / source.rows.heads;
        const head = Math.floor(row / headSize);
        const i = Math.floor((row - head * headSize) / 2);
        const t = (row - head * headSize) % 2;
        stored = head * headSize + i + t * (headSize / 2);
      }
      return Array.from({ length: rowUnits }, (_, unit): [number, number] => [
        part.file,
        part.offset + (stored * rowUnits + unit) * typeSize,
      ]);
    });
  });
}

const unitsOf = (segments: readonly Segment[], type: TypeName): [number, number][] =>
  segments.flatMap(({ file, offset, byteLength }) =>
    Array.from({ length: byteLength / dataTypes[type].typeSize }, (_, unit): [number, number] => [
      file,
      offset + unit * dataTypes[type].typeSize,
    ]),
  );

const tensor = (over: Partial<StoredTensor> = {}): StoredTensor => {
  const shape = over.shape ?? [8, 3];
  const type = over.type ?? 'F32';
  return {
    name: 'w',
    type,
    shape,
    file: 0,
    offset: 100,
    byteLength: bytesOf(type, elementsOf(shape)),
    ...over,
  };
};
const rotary = (heads: number): RowOrder => ({ kind: 'rotary', heads });

const sources = fc
  .record({
    type: fc.constantFrom<TypeName>('F32', 'BF16', 'U8', 'F64', 'Q8_0'),
    heads: fc.integer({ min: 1, max: 4 }),
    half: fc.integer({ min: 1, max: 5 }),
    rowUnits: fc.integer({ min: 1, max: 7 }),
    split: fc.boolean(),
    isRotary: fc.boolean(),
    places: fc.array(
      fc.record({ file: fc.integer({ min: 0, max: 2 }), offset: fc.integer({ min: 0, max: 2 ** 45 }) }),
      { minLength: 1, maxLength: 4 },
    ),
  })
  .map(({ type, heads, half, rowUnits, split, isRotary, places }): StoredSource => {
    const rowLength = rowUnits * dataTypes[type].blockSize;
    const rowCount = 2 * half * heads;
    const shape = split ? [rowCount, 1, rowLength] : rowLength === 1 ? [rowCount] : [rowCount, rowLength];
    return {
      kind: 'stored',
      parts: places.map((place) => tensor({ type, shape, ...place })),
      rows: isRotary ? rotary(heads) : { kind: 'file' },
    };
  });

describe('segmentsOf', () => {
  it('equals the definition on any range', () => {
    fc.assert(
      fc.property(
        sources,
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (source, a, b) => {
          const all = addressesOf(source);
          const { type } = source.parts[0];
          const { blockSize } = dataTypes[type];
          const [from, to] = [a, b].map((x) => Math.floor(x * all.length)).sort((x, y) => x - y);
          const segments = segmentsOf(source, from * blockSize, (to - from) * blockSize);
          expect(unitsOf(segments, type)).toEqual(all.slice(from, to));
          for (const [i, { elements, byteLength, offset, file }] of segments.entries()) {
            expect(byteLength).toBe(bytesOf(type, elements));
            const next = segments[i + 1];
            if (next) expect([next.file, next.offset], 'joined').not.toEqual([file, offset + byteLength]);
          }
        },
      ),
      { seed: 20, numRuns: 500 },
    );
  });

  it('gives one segment for rows in file order', () => {
    const source: StoredSource = { kind: 'stored', parts: [tensor()], rows: { kind: 'file' } };
    expect(segmentsOf(source, 4, 10)).toEqual([{ file: 0, offset: 116, elements: 10, byteLength: 40 }]);
  });

  it('interleaves the halves of each head', () => {
    const source: StoredSource = {
      kind: 'stored',
      parts: [tensor({ shape: [8], type: 'U8', offset: 0 })],
      rows: rotary(2),
    };
    const order = segmentsOf(source, 0, 8).flatMap((s) =>
      Array.from({ length: s.elements }, (_, i) => s.offset + i),
    );
    expect(order).toEqual([0, 2, 1, 3, 4, 6, 5, 7]);
  });

  it('reads a scalar and an empty range', () => {
    const source: StoredSource = { kind: 'stored', parts: [tensor({ shape: [] })], rows: { kind: 'file' } };
    expect(segmentsOf(source, 0, 1)).toEqual([{ file: 0, offset: 100, elements: 1, byteLength: 4 }]);
    expect(segmentsOf(source, 1, 0)).toEqual([]);
  });

  it.each<[string, StoredSource, number, number]>([
    ['past the end', { kind: 'stored', parts: [tensor()], rows: { kind: 'file' } }, 20, 5],
    ['before the start', { kind: 'stored', parts: [tensor()], rows: { kind: 'file' } }, -1, 5],
    [
      'inside a block',
      { kind: 'stored', parts: [tensor({ type: 'Q8_0', shape: [2, 64] })], rows: { kind: 'file' } },
      16,
      32,
    ],
    ['odd heads', { kind: 'stored', parts: [tensor({ shape: [6, 4] })], rows: rotary(2) }, 0, 4],
  ])('refuses a range that is %s', (_name, source, start, count) => {
    expect(() => segmentsOf(source, start, count)).toThrow(RangeError);
  });
});
