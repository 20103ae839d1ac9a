import { describe, expect, it } from 'vitest';
import { bytesOf, dataTypes, type TypeName } from '../../src/core/types.ts';
import { weightedEncoders } from '../../src/quantize/format/index.ts';
import { compileKernels, type Kernels, scalarKernels, simdKernels } from '../../src/quantize/kernels.ts';
import { engineDirectory, loadGgml } from '../engine/ggml.ts';
import { distributions } from '../support/distributions.ts';
import { importances } from '../support/importances.ts';

const ARENA = 1 << 20;
/** ggml's first IQ1 block waits for its lists of neighbours, 10 s of sorting. */
const ENGINE_TIMEOUT = 300_000;
const GUARD = 64; // bytes behind the blocks that must stay
const implementations = [simdKernels(compileKernels(), ARENA), scalarKernels(ARENA)];

type Shape = readonly [rows: number, rowLength: number];

/** Of all types; blocks of 32 also have rows that are no multiple of 256. */
const allShapes: readonly Shape[] = [
  [3, 1024],
  [2, 512],
];
const shapesOf = (type: TypeName, shapes: readonly Shape[]): readonly Shape[] =>
  dataTypes[type].blockSize === 32 ? [...shapes, [3, 416]] : shapes;

/** Where sums of the codebook searches leave float32, ggml finds no neighbour and ends the process. */
const aborts = (type: TypeName, kind: string) => /^IQ[123]/.test(type) && kind === 'near the largest float32';

function encode(kernels: Kernels, type: TypeName, x: Float32Array, importance: Float32Array): Uint8Array {
  const { base, buffer } = kernels;
  const importanceAt = base + 4 * x.length;
  const dst = importanceAt + 4 * importance.length;
  const bytes = bytesOf(type, x.length);
  new Float32Array(buffer, base, x.length).set(x);
  new Float32Array(buffer, importanceAt, importance.length).set(importance);
  new Uint8Array(buffer, dst, bytes + GUARD).fill(0xa5); // a kernel must write every byte, and none behind
  const rows = x.length / importance.length;
  kernels.quantizeWeighted(type, base, dst, rows, importance.length, importanceAt);
  return new Uint8Array(buffer, dst, bytes + GUARD).slice();
}

/** The first difference as a sentence, so that a failure names the block; null when equal. */
function difference(got: Uint8Array, expected: Uint8Array, type: TypeName): string | null {
  const at = expected.findIndex((byte, i) => byte !== got[i]);
  const { typeSize } = dataTypes[type];
  if (at >= 0)
    return `block ${Math.floor(at / typeSize)} byte ${at % typeSize}: ${got[at]} instead of ${expected[at]}`;
  return got.subarray(expected.length).every((byte) => byte === 0xa5) ? null : 'bytes behind the blocks';
}

/** The usual importances and those that decide most branches, on few weights; the long tests take all. */
export const few = {
  kinds: ['random positive', 'ratios of 1e6', 'many zeros', 'all zero'],
  shapes: [[2, 512]],
} as const;

/**
 * Every weighted encoder of a type that `included` takes, under importances of these kinds in rows of these shapes,
 * against ggml, where it is `judged`; and kernels against twins under all kinds.
 */
export function describeWeightedIdentity(
  included: (type: TypeName) => boolean,
  {
    kinds = Object.keys(importances),
    shapes = allShapes,
    judged = () => true,
  }: { kinds?: readonly string[]; shapes?: readonly Shape[]; judged?: (type: TypeName) => boolean } = {},
): void {
  const types = (Object.keys(weightedEncoders) as TypeName[]).filter(included);

  describe.skipIf(engineDirectory === null)('importance-weighted coding, byte identity with ggml', () => {
    const ggml = engineDirectory === null ? null! : loadGgml();

    for (const type of types.filter(judged)) {
      it.each(Object.keys(distributions))(
        `${type}, %s`,
        (name) => {
          for (const [rows, rowLength] of shapesOf(type, shapes)) {
            const x = distributions[name](rows * rowLength, 1);
            for (const kind of kinds) {
              if (aborts(type, kind)) continue;
              const importance = importances[kind](rowLength, 2);
              const expected = ggml.quantize(type, x, rowLength, importance);
              for (const kernels of implementations) {
                const got = encode(kernels, type, x, importance);
                const context = `${kernels.flavour}, ${rows} x ${rowLength}, importances ${kind}`;
                expect(difference(got, expected, type), context).toBeNull();
              }
            }
          }
        },
        ENGINE_TIMEOUT,
      );
    }
  });

  describe('importance-weighted simd kernels equal their scalar twins', () => {
    for (const type of types) {
      it.each(Object.keys(importances))(`${type}, %s`, (kind) => {
        const [rows, rowLength] = [5, 768];
        const x = distributions['heavy tails'](rows * rowLength, 3);
        const importance = importances[kind](rowLength, 4);
        const [simd, scalar] = implementations.map((kernels) => encode(kernels, type, x, importance));
        expect(difference(simd, scalar, type)).toBeNull();
      });
    }
  });
}
