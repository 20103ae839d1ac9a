import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { UsageError } from '../core/errors.ts';
import type { BlockEncoder } from '../core/plan.ts';
import { typeOfEncoder } from '../core/plan.ts';
import { bytesOf, type TypeName } from '../core/types.ts';
import { checksum } from './checksum.ts';
import { decoders, encoders, weightedEncoders } from './format/index.ts';
import { countBins } from './histogram.ts';
import { decodeZeroPoint, encodeZeroPoint, rangeOf, type ZeroPoint } from './zero-point.ts';

/**
 * The hot loops, over one arena of memory. Addresses are byte offsets into `buffer`, multiples of 16; n counts
 * weights, a multiple of the block size. Both implementations give the same bytes.
 */
export interface Kernels {
  readonly flavour: 'simd' | 'scalar';
  readonly buffer: ArrayBufferLike;
  /** First byte that is free for the caller. */
  readonly base: number;
  /** float32 at src to blocks at dst. Weights must be finite. */
  quantize(encoder: BlockEncoder, src: number, dst: number, n: number): void;
  /**
   * `rows` rows of float32 at src to blocks of the type at dst, under `rowLength` float32 importances, one a column:
   * finite, not negative. Only the types of `weightedEncoders`.
   */
  quantizeWeighted(
    type: TypeName,
    src: number,
    dst: number,
    rows: number,
    rowLength: number,
    importance: number,
  ): void;
  /** Stored values at src to float32 at dst. */
  dequantize(type: TypeName, src: number, dst: number, n: number): void;
  /** float32 at src to int8 codes at dst, over a range given from outside (`zeroPointOf`); n may be any count. */
  quantizeZeroPoint(src: number, dst: number, n: number, parameters: ZeroPoint): void;
  /** Such codes at src to float32 at dst. */
  dequantizeZeroPoint(src: number, dst: number, n: number, parameters: ZeroPoint): void;
  /** Writes the smallest and the largest of n >= 1 float32 at x to out, as float32; a zero is +0. */
  range(x: number, n: number, out: number): void;
  /**
   * Writes sum x^2, sum q^2, sum x q, sum (x - q)^2 and max |x - q| as float64 to out (80 bytes, the rest is
   * scratch). The first two are finite exactly when every x, every q is.
   */
  measure(x: number, q: number, n: number, out: number): void;
  /** Counts n float32 at x in the bins of a `ChunkCounter`, at counts; `scale` is a power of two. */
  histogram(x: number, n: number, scale: number, counts: number): void;
  /** Checksum of `length` bytes. */
  checksum(bytes: number, length: number): number;
}

/** A compiled kernel module. */
export type WasmModule = WebAssembly.Module;

type WasmExports = Record<string, (...args: number[]) => number> & { memory: WebAssembly.Memory };

const PAGE = 65_536;

/** Path of the compiled module, the same from sources and from the built package. */
const kernelsPath = (): string => createRequire(import.meta.url).resolve('#kernels.wasm');

/** Compiles the module once; the result can be posted to workers. */
export const compileKernels = (): WebAssembly.Module => new WebAssembly.Module(readFileSync(kernelsPath()));

/** The smallest module that uses SIMD: one function that makes and drops a v128. */
const SIMD_PROBE = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 10, 9, 1, 7, 0, 65, 0, 253, 15, 26, 11,
]);

/** Whether this JavaScript engine runs WebAssembly SIMD; `node --jitless` has no WebAssembly at all. */
export const simdSupported = (): boolean =>
  typeof WebAssembly !== 'undefined' && WebAssembly.validate(SIMD_PROBE);

/**
 * The compiled SIMD kernels, or null for the scalar twins: `auto` takes SIMD where there is any.
 *
 * @throws UsageError for `simd` on an engine without it
 */
export function chooseKernels(kind: 'auto' | 'simd' | 'scalar'): WasmModule | null {
  if (kind === 'scalar') return null;
  if (simdSupported()) return compileKernels();
  if (kind === 'auto') return null;
  throw new UsageError('this JavaScript engine has no WebAssembly SIMD', {
    advice: 'leave --kernels out, or pass --kernels scalar (much slower, same bytes)',
  });
}

/** Kernels with at least `bytes` of arena: those of a module, or the scalar twins. */
export const kernelsOf = (module: WasmModule | null, bytes: number): Kernels =>
  module === null ? scalarKernels(bytes) : simdKernels(module, bytes);

/** SIMD kernels with at least `bytes` of arena. */
export function simdKernels(module: WebAssembly.Module, bytes: number): Kernels {
  const exports = new WebAssembly.Instance(module, { env: { abort: wasmAbort } }).exports as WasmExports;
  const base = exports.arenaBase();
  const missing = base + bytes - exports.memory.buffer.byteLength;
  if (missing > 0) exports.memory.grow(Math.ceil(missing / PAGE));
  const named = (name: string) => {
    const kernel = exports[name];
    if (kernel === undefined) throw new Error(`the kernel module has no ${name}`);
    return kernel;
  };
  return {
    flavour: 'simd',
    buffer: exports.memory.buffer,
    base,
    quantize: (encoder, src, dst, n) => void named(`quantize_${symbol(encoder)}`)(src, dst, n),
    quantizeWeighted: (type, src, dst, rows, rowLength, importance) =>
      void named(`quantize_${type}_weighted`)(src, dst, rows, rowLength, importance),
    dequantize: (type, src, dst, n) => void named(`dequantize_${type}`)(src, dst, n),
    quantizeZeroPoint: (src, dst, n, { scale, zeroPoint }) =>
      void exports.quantize_I8_zero_point(src, dst, n, scale, zeroPoint),
    dequantizeZeroPoint: (src, dst, n, { scale, zeroPoint }) =>
      void exports.dequantize_I8_zero_point(src, dst, n, scale, zeroPoint),
    range: (x, n, out) => void exports.range(x, n, out),
    measure: (x, q, n, out) => void exports.measure(x, q, n, out),
    histogram: (x, n, scale, counts) => void exports.histogram(x, n, scale, counts),
    checksum: (bytes, length) => exports.checksum(bytes, length) >>> 0,
  };
}

/** The scalar twins behind the same interface: for engines without WebAssembly SIMD, and for tests. */
export function scalarKernels(bytes: number): Kernels {
  const buffer = new ArrayBuffer(bytes);
  const floats = (at: number, n: number) => new Float32Array(buffer, at, n);
  return {
    flavour: 'scalar',
    buffer,
    base: 0,
    quantize(encoder, src, dst, n) {
      encoders[encoder]!(floats(src, n), new Uint8Array(buffer, dst, bytesOf(typeOfEncoder(encoder), n)));
    },
    quantizeWeighted(type, src, dst, rows, rowLength, importance) {
      const n = rows * rowLength;
      const blocks = new Uint8Array(buffer, dst, bytesOf(type, n));
      weightedEncoders[type]!(floats(src, n), blocks, rowLength, floats(importance, rowLength));
    },
    dequantize(type, src, dst, n) {
      decoders[type](new Uint8Array(buffer, src, bytesOf(type, n)), floats(dst, n));
    },
    quantizeZeroPoint(src, dst, n, parameters) {
      encodeZeroPoint(floats(src, n), new Int8Array(buffer, dst, n), parameters);
    },
    dequantizeZeroPoint(src, dst, n, parameters) {
      decodeZeroPoint(new Int8Array(buffer, src, n), floats(dst, n), parameters);
    },
    range(x, n, out) {
      floats(out, 2).set(rangeOf(floats(x, n)));
    },
    measure(x, q, n, out) {
      measure(floats(x, n), floats(q, n), new Float64Array(buffer, out, 5));
    },
    histogram(x, n, scale, counts) {
      countBins(floats(x, n), scale, new Uint32Array(buffer, counts));
    },
    checksum: (bytes, length) => checksum(new Uint8Array(buffer, bytes, length)),
  };
}

/** Scalar twin of the measure kernel: four interleaved partial sums, added as (0 + 1) + (2 + 3). */
function measure(x: Float32Array, q: Float32Array, out: Float64Array): void {
  const partial = Array.from({ length: 4 }, () => [0, 0, 0, 0, 0]);
  for (let i = 0; i < x.length; i++) {
    const sums = partial[i % 4];
    const error = x[i] - q[i];
    sums[0] += x[i] * x[i];
    sums[1] += q[i] * q[i];
    sums[2] += x[i] * q[i];
    sums[3] += error * error;
    sums[4] = Math.max(sums[4], Math.abs(error));
  }
  const [a, b, c, d] = partial;
  for (let s = 0; s < 4; s++) out[s] = a[s] + b[s] + (c[s] + d[s]);
  out[4] = Math.max(a[4], b[4], c[4], d[4]);
}

/** "TQ2_0:absmean" is exported as quantize_TQ2_0_absmean. */
const symbol = (encoder: BlockEncoder): string => encoder.replace(/[:-]/g, '_');

function wasmAbort(): never {
  throw new Error('a kernel aborted');
}
