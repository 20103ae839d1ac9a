import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { setFlagsFromString } from 'node:v8';
import type { GemmFacts } from '../core/calibration.ts';
import { QuantizeError, UsageError } from '../core/errors.ts';
import { BlasError, openBlas, usualBlas } from './blas.ts';
import { largestError } from './self-test.ts';

/** An implementation of matrix products: what a team is told, on every thread. */
export interface Gemm {
  /** For the report: `wasm`, `wasm-relaxed` or `blas: FILE (MAKE VERSION, CORE)`. */
  readonly name: string;
  /** Compute kernels to use: relaxed ones may round differently from one kind of processor to another. */
  readonly kernels: '#compute.wasm' | '#compute-relaxed.wasm';
  /** Library that multiplies in place of the kernels. */
  readonly blas: string | null;
  /** Why `auto` took no library, in a line: set where it did not. */
  readonly withoutBlas?: string;
}

/** This engine has no relaxed SIMD. */
export class RelaxedSimdError extends QuantizeError {}

/** The kernels whose results are the same on every machine. */
export const REPRODUCIBLE: Gemm = { name: 'wasm', kernels: '#compute.wasm', blas: null };

const RELAXED: Gemm = { ...REPRODUCIBLE, name: 'wasm-relaxed', kernels: '#compute-relaxed.wasm' };

/**
 * Finds the implementation that `--gemm` names.
 * `wasm`: our kernels, the same bytes on every machine. `wasm-relaxed`: our kernels with whatever multiply-add the processor
 * has. `blas`, `blas:PATH`: the system's BLAS. `auto`: the fastest that is there, in the order blas, wasm-relaxed, wasm.
 * With all of them results are the same at any number of threads of one machine.
 *
 * @throws UsageError for another name; BlasError, RelaxedSimdError if what is named cannot be used
 */
export function openGemm(kind: string): Gemm {
  if (kind === 'wasm') return REPRODUCIBLE;
  if (kind === 'wasm-relaxed') {
    if (hasRelaxedSimd()) return RELAXED;
    throw new RelaxedSimdError('this engine has no relaxed SIMD', {
      expected: 'Node.js 20 or later on a processor with SIMD',
      got: `Node.js ${process.version}`,
      advice: 'use --gemm wasm',
    });
  }
  if (kind === 'blas') return testedBlas(usualBlas());
  if (kind.startsWith('blas:') && kind.length > 5) return testedBlas(kind.slice(5));
  if (kind !== 'auto') {
    throw new UsageError('no such implementation of matrix products', {
      expected: 'auto, wasm, wasm-relaxed, blas or blas:PATH',
      got: kind,
    });
  }
  try {
    return testedBlas(usualBlas());
  } catch (error) {
    if (!(error instanceof BlasError)) throw error;
    return { ...(hasRelaxedSimd() ? RELAXED : REPRODUCIBLE), withoutBlas: reasonOf(error) };
  }
}

/** What a report says of a gemm. */
export const gemmFacts = ({ name, withoutBlas }: Gemm): GemmFacts => ({
  gemm: name,
  ...(withoutBlas !== undefined && { withoutBlas }),
});

/** "cannot load the BLAS library (libopenblas.so.0): cannot open shared object file". */
function reasonOf({ message, details: { file, got } }: BlasError): string {
  const [what] = message.split('\n');
  return `${what}${file === undefined ? '' : ` (${file})`}${got === undefined ? '' : `: ${got}`}`;
}

/** Compiles the compute kernels that an implementation comes with. */
export function compileCompute({ kernels }: Gemm): WebAssembly.Module {
  return new WebAssembly.Module(bytesOf(kernels));
}

const bytesOf = (kernels: Gemm['kernels']) => readFileSync(createRequire(import.meta.url).resolve(kernels));

/** Whether the relaxed kernels compile here; Node 20 wants to be told. */
function hasRelaxedSimd(): boolean {
  const bytes = bytesOf(RELAXED.kernels);
  if (WebAssembly.validate(bytes)) return true;
  setFlagsFromString('--experimental-wasm-relaxed-simd');
  return WebAssembly.validate(bytes);
}

function testedBlas(path: string): Gemm {
  const { description, over } = openBlas(path);
  const off = largestError(over);
  // Not so for a NaN either.
  if (!(off <= TOLERANCE)) {
    throw new BlasError('the BLAS library multiplies wrongly', {
      file: path,
      expected: `at most ${TOLERANCE} off`,
      got: `${off} off`,
      advice: 'name another library, or use --gemm wasm',
    });
  }
  return { ...REPRODUCIBLE, name: `blas: ${description}`, blas: path };
}

/** Relative to the sum of the absolute values of the terms. */
const TOLERANCE = 1e-5;
