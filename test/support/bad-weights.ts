import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { QuantizeError } from '../../src/core/errors.ts';
import { NotFiniteWeightError } from '../../src/core/weight-errors.ts';
import { type QuantizeOptions, quantize } from '../../src/pipeline.ts';
import { floatTensor, safetensorsBytes, type TensorToWrite } from './safetensors-writer.ts';
import { put, temporaryDirectory } from './temporary.ts';

/** Files with one weight that is wrong, and runs of them. */

export const directory = temporaryDirectory();
export const output = join(directory, 'm.gguf');

export const ROWS = 8;
export const WIDTH = 512;
/** Row and column of the weight that is wrong, and its place in the tensor. */
export const [ROW, COLUMN] = [5, 300];
const AT = ROW * WIDTH + COLUMN;

export const ramp = (): Float32Array =>
  Float32Array.from({ length: ROWS * WIDTH }, (_, i) => ((i % 37) - 18) / 100);

/** A file of a good tensor and one with a value of `dtype` planted as these bytes. */
export function planted(dtype: string, bytesPerValue: number, value: Uint8Array): string {
  const data = new Uint8Array(ROWS * WIDTH * bytesPerValue); // zeros
  data.set(value, AT * bytesPerValue);
  const bad: TensorToWrite = { name: 'layer.weight', dtype, shape: [ROWS, WIDTH], data };
  const good = floatTensor('a.weight', 'F32', [ROWS, WIDTH], ramp());
  return put(directory, `${dtype}.safetensors`, safetensorsBytes([good, bad]));
}
export const little = (array: { buffer: ArrayBufferLike }) => new Uint8Array(array.buffer);

/** The error of a run, which leaves nothing at the output. */
export async function failure(options: Partial<QuantizeOptions> & { input: string }): Promise<QuantizeError> {
  rmSync(output, { force: true });
  const error = await quantize({ output, threads: 1, ...options }).then(
    () => new Error('the run succeeded'),
    (reason) => reason,
  );
  expect(readdirSync(directory)).not.toContain('m.gguf');
  return error;
}

export const doubles = (value: number) => little(Float64Array.of(value));
const floats = (value: number) => little(Float32Array.of(value));
const halves = (bits: number) => little(Uint16Array.of(bits));
const values = [
  ['F32', 4, 'NaN', floats(Number.NaN)],
  ['F32', 4, 'Infinity', floats(Number.POSITIVE_INFINITY)],
  ['F32', 4, '-Infinity', floats(Number.NEGATIVE_INFINITY)],
  ['BF16', 2, 'NaN', halves(0x7fc0)],
  ['BF16', 2, '-Infinity', halves(0xff80)],
  ['F16', 2, 'NaN', halves(0x7e00)],
  ['F16', 2, 'Infinity', halves(0x7c00)],
  ['F8_E4M3', 1, 'NaN', Uint8Array.of(0x7f)],
  ['F8_E5M2', 1, 'NaN', Uint8Array.of(0x7e)],
  ['F8_E5M2', 1, '-Infinity', Uint8Array.of(0xfc)],
  ['F64', 8, 'NaN', doubles(Number.NaN)],
  ['F64', 8, 'Infinity', doubles(Number.POSITIVE_INFINITY)],
] as const;

/** Ways through a run: kernels that code, their twins, tensors that keep their numbers, ranges looked for beforehand. */
const ways: readonly Partial<QuantizeOptions>[] = [
  { type: 'Q4_K_M' },
  { type: 'Q8_0', kernels: 'scalar' },
  { type: 'F32' },
  { method: 'zero-point', bits: 8 },
];

/** Tests every value of every dtype in all ways; or all ways with the NaN of F32 and of F64, and the others in one each. */
export function describeNotFinite(all: boolean): void {
  describe('a weight that is not finite', () => {
    it.each(values)('%s (%i bytes): %s', async (dtype, width, value, bytes) => {
      const input = planted(dtype, width, bytes);
      const i = values.findIndex((each) => each[0] === dtype && each[2] === value);
      const chosen = all || (/^F(32|64)$/.test(dtype) && value === 'NaN') ? ways : [ways[i % ways.length]];
      for (const options of chosen) {
        const error = await failure({ input, ...options });
        expect(error).toBeInstanceOf(NotFiniteWeightError);
        expect(error.exitCode).toBe(1);
        expect(error.details).toMatchObject({
          file: input,
          tensor: 'layer.weight',
          got: `${value} at row ${ROW}, column ${COLUMN}`,
        });
      }
    });
  });
}
