import { createRequire } from 'node:module';
import { basename } from 'node:path';
import type { LibraryHandle } from 'koffi';
import { QuantizeError } from '../core/errors.ts';
import type { Multiply } from './gemm.ts';

/** The system's BLAS cannot be used. */
export class BlasError extends QuantizeError {}

/** A library with `cblas_sgemm`. */
export interface Blas {
  /** File name, make and version as far as the library says them. */
  readonly description: string;
  /** Products of matrices that lie in `memory`. */
  over(memory: WebAssembly.Memory): Multiply;
}

/** The variable that names a library to take in place of the usual one. */
const VARIABLE = 'QUANTIZE_BLAS';

/** What `cblas.h` calls CblasRowMajor, CblasNoTrans and CblasTrans. */
const ROW_MAJOR = 101;
const AS_STORED = 111;
const TRANSPOSED = 112;

/** The library to take when none is named: the variable's, or where the platform keeps one. */
export function usualBlas(): string {
  const named = process.env[VARIABLE];
  if (named !== undefined && named !== '') return named;
  if (process.platform === 'darwin') return '/System/Library/Frameworks/Accelerate.framework/Accelerate';
  return process.platform === 'win32' ? 'libopenblas.dll' : 'libopenblas.so.0';
}

/**
 * Loads a BLAS and sets it to one thread a call, since every thread of a team calls it for its own tile. To be called on
 * each of these threads.
 *
 * @throws BlasError if koffi or the library is not there or not fit
 */
export function openBlas(path: string): Blas {
  const { koffi, library } = load(path);
  let sgemm: (...args: (number | bigint)[]) => void;
  try {
    sgemm = library.func(
      'void cblas_sgemm(int order, int transa, int transb, int m, int n, int k, float alpha, ' +
        'void *a, int lda, void *b, int ldb, float beta, void *c, int ldc)',
    );
  } catch (cause) {
    throw new BlasError('the library has no cblas_sgemm', { file: path, advice: ADVICE, cause });
  }
  const make = askOpenBlas(library, path);
  return {
    description: `${basename(path)}${make === null ? '' : ` (${make})`}`,
    over(memory) {
      // A shared memory never moves.
      const base = koffi.address(new Uint8Array(memory.buffer));
      const pointer = (address: number) => base + BigInt(address);
      return ({ m, n, k, a, lda, b, ldb, c, ldc, transposeA, transposeB, accumulate }) =>
        sgemm(
          ROW_MAJOR,
          transposeA ? TRANSPOSED : AS_STORED,
          transposeB ? TRANSPOSED : AS_STORED,
          m,
          n,
          k,
          1,
          pointer(a),
          lda,
          pointer(b),
          ldb,
          accumulate ? 1 : 0,
          pointer(c),
          ldc,
        );
    },
  };
}

const ADVICE =
  'install OpenBLAS (Debian, Ubuntu: apt install libopenblas0-pthread), name the library by ' +
  `--gemm blas:PATH or ${VARIABLE}=PATH, or use --gemm wasm`;

function load(path: string): { koffi: typeof import('koffi'); library: LibraryHandle } {
  let koffi: typeof import('koffi');
  try {
    koffi = createRequire(import.meta.url)('koffi');
  } catch (cause) {
    throw new BlasError('BLAS needs the package koffi, which is not installed', {
      advice: 'npm install koffi, or use --gemm wasm',
      cause,
    });
  }
  try {
    return { koffi, library: koffi.load(path) };
  } catch (cause) {
    const got = (cause as Error).message;
    throw new BlasError('cannot load the BLAS library', { file: path, got, advice: ADVICE, cause });
  }
}

/** Make and version of an OpenBLAS, which is set to one thread; null for another library. */
function askOpenBlas(library: LibraryHandle, path: string): string | null {
  const call = (prototype: string, ...args: number[]) => {
    try {
      return library.func(prototype)(...args);
    } catch {
      return null; // no such function: another make
    }
  };
  call('void openblas_set_num_threads(int count)', 1);
  const version: string | null = call('const char *openblas_get_config()');
  if (version === null) return null;
  // 0: built without threads, and then mostly without the locks that several callers need.
  if (call('int openblas_get_parallel()') === 0) {
    throw new BlasError('this OpenBLAS was built for one thread only', {
      file: path,
      expected: 'a build with threads, which many threads can call at once',
      advice: ADVICE,
    });
  }
  const core: string | null = call('const char *openblas_get_corename()');
  const make = version.split(' ').slice(0, 2).join(' ');
  return core === null ? make : `${make}, ${core}`;
}
