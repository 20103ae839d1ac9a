import { describe, expect, it } from 'vitest';
import { dataTypes, type TypeName } from '../../src/core/types.ts';
import { compileKernels, type Kernels, scalarKernels, simdKernels } from '../../src/quantize/kernels.ts';
import { gaussian } from '../support/random.ts';

const ARENA = 1 << 20;
const implementations: Kernels[] = [simdKernels(compileKernels(), ARENA), scalarKernels(ARENA)];

const decode = (kernels: Kernels, type: TypeName, stored: ArrayBufferView): number[] => {
  const n = stored.byteLength / dataTypes[type].typeSize;
  const dst = kernels.base + (ARENA >> 1);
  new Uint8Array(kernels.buffer, kernels.base, stored.byteLength).set(
    new Uint8Array(stored.buffer, stored.byteOffset, stored.byteLength),
  );
  kernels.dequantize(type, kernels.base, dst, n);
  return [...new Float32Array(kernels.buffer, dst, n)];
};

const f = Math.fround;

describe.each(implementations)('stored dtypes to float32, $flavour', (kernels) => {
  it('F64: rounded once, to even, subnormals, infinities and NaN included', () => {
    const cases: [number, number][] = [
      [1 + 2 ** -24, 1], // a tie
      [1 + 3 * 2 ** -24, 1 + 2 ** -22], // a tie
      [1 + 2 ** -24 + 2 ** -52, 1 + 2 ** -23],
      [-0, -0],
      [2 ** -149, 2 ** -149],
      [2 ** -150, 0],
      [2 ** -150 * (1 + 2 ** -52), 2 ** -149],
      [3.4028234663852886e38, 3.4028234663852886e38],
      [3.4028235677973366e38, Number.POSITIVE_INFINITY], // half a step beyond the largest
      [Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY],
      [Number.NaN, Number.NaN],
    ];
    expect(
      decode(
        kernels,
        'F64',
        Float64Array.from(cases, ([x]) => x),
      ),
    ).toEqual(cases.map(([, y]) => y));
    const next = gaussian(7);
    const values = Float64Array.from({ length: 1001 }, () => next() ** 9);
    expect(decode(kernels, 'F64', values)).toEqual([...values].map(f));
  });

  it('F8_E4M3: every byte by the definition of OCP FP8', () => {
    const bytes = Uint8Array.from({ length: 256 }, (_, i) => i);
    const decoded = decode(kernels, 'F8_E4M3', bytes);
    expect(decoded.slice(0, 9)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8].map((units) => units / 512));
    expect(decoded[0x38]).toBe(1);
    expect(decoded[0x7e]).toBe(448); // the largest
    expect(decoded[0x7f]).toBeNaN();
    expect(decoded[0xff]).toBeNaN();
    expect(decoded.filter(Number.isNaN)).toHaveLength(2);
    expect(decoded).not.toContain(Number.POSITIVE_INFINITY);
    for (let exponent = 1; exponent < 16; exponent++) {
      for (let mantissa = 0; mantissa < (exponent === 15 ? 7 : 8); mantissa++) {
        const byte = (exponent << 3) | mantissa;
        expect(decoded[byte]).toBe((1 + mantissa / 8) * 2 ** (exponent - 7));
      }
    }
    for (let byte = 0; byte < 0x7f; byte++) expect(decoded[byte | 0x80]).toBe(-decoded[byte]);
  });

  it('F8_E5M2: every byte by the definition of OCP FP8', () => {
    const bytes = Uint8Array.from({ length: 256 }, (_, i) => i);
    const decoded = decode(kernels, 'F8_E5M2', bytes);
    expect(decoded.slice(0, 5)).toEqual([0, 1, 2, 3, 4].map((units) => units / 65_536));
    expect(decoded[0x7b]).toBe(57_344); // the largest
    expect(decoded[0x7c]).toBe(Number.POSITIVE_INFINITY);
    expect(decoded[0xfc]).toBe(Number.NEGATIVE_INFINITY);
    for (const nan of [0x7d, 0x7e, 0x7f, 0xfd, 0xfe, 0xff]) expect(decoded[nan]).toBeNaN();
    for (let exponent = 1; exponent < 31; exponent++) {
      for (let mantissa = 0; mantissa < 4; mantissa++) {
        expect(decoded[(exponent << 2) | mantissa]).toBe((1 + mantissa / 4) * 2 ** (exponent - 15));
      }
    }
    for (let byte = 0; byte < 0x7d; byte++) expect(decoded[byte | 0x80]).toBe(-decoded[byte]);
  });

  it('integers of 8 and 16 bits: each value exactly', () => {
    for (const [type, values] of [
      ['I8', Int8Array.from({ length: 256 }, (_, i) => i)],
      ['U8', Uint8Array.from({ length: 256 }, (_, i) => i)],
      ['I16', Int16Array.from({ length: 65_536 }, (_, i) => i)],
      ['U16', Uint16Array.from({ length: 65_536 }, (_, i) => i)],
    ] as const) {
      expect(decode(kernels, type, values), type).toEqual([...values]);
    }
  });

  it('integers of 32 bits: rounded to even', () => {
    const edges = [0, 1, 2 ** 24, 2 ** 24 + 1, 2 ** 24 + 3, 2 ** 31 - 1, 2 ** 31 - 64, 2 ** 31 - 65];
    const signed = Int32Array.from([...edges, ...edges.map((edge) => -edge), -(2 ** 31)]);
    const unsigned = Uint32Array.from([...edges, 2 ** 31, 2 ** 32 - 1, 2 ** 32 - 128, 2 ** 32 - 129]);
    expect(decode(kernels, 'I32', signed)).toEqual([...signed].map((value) => f(value) + 0));
    expect(decode(kernels, 'U32', unsigned)).toEqual([...unsigned].map(f));
  });

  it('integers of 64 bits: rounded once, where rounding to float64 first would go wrong', () => {
    // 2^60 + 2^36 is a tie between float32 neighbours 2^37 apart; one more must round up, though float64 loses it.
    const tie = 2n ** 60n + 2n ** 36n;
    expect(Number(tie + 1n)).toBe(Number(tie));
    const cases: [bigint, number][] = [
      [tie, 2 ** 60],
      [tie + 1n, 2 ** 60 + 2 ** 37],
      [tie - 1n, 2 ** 60],
      [tie + 2n ** 37n, 2 ** 60 + 2 ** 38],
      [tie + 2n ** 37n - 1n, 2 ** 60 + 2 ** 37],
      [2n ** 24n + 1n, 2 ** 24],
      [2n ** 24n + 3n, 2 ** 24 + 4],
      [2n ** 63n - 1n, 2 ** 63],
      [123n, 123],
    ];
    const signed: [bigint, number][] = [
      ...cases,
      ...cases.map(([value, expected]): [bigint, number] => [-value, -expected]),
      [-(2n ** 63n), -(2 ** 63)],
    ];
    const unsigned: [bigint, number][] = [
      ...cases,
      [2n ** 64n - 1n, 2 ** 64],
      [2n ** 64n - 2n ** 39n - 1n, 2 ** 64 - 2 ** 40],
    ];
    const i64 = BigInt64Array.from(signed, ([value]) => value);
    const u64 = BigUint64Array.from(unsigned, ([value]) => value);
    expect(decode(kernels, 'I64', i64)).toEqual(signed.map(([, expected]) => expected));
    expect(decode(kernels, 'U64', u64)).toEqual(unsigned.map(([, expected]) => expected));
  });

  it('BOOL: 0 is false, any other byte is true', () => {
    expect(decode(kernels, 'BOOL', Uint8Array.of(0, 1, 0, 2, 255))).toEqual([0, 1, 0, 1, 1]);
  });
});
