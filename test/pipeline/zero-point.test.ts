import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { showPlan } from '../../src/cli/dry-run.ts';
import { UsageError } from '../../src/core/errors.ts';
import { elementsOf } from '../../src/core/types.ts';
import { evaluate } from '../../src/model-runs.ts';
import { planQuantization, quantize } from '../../src/pipeline.ts';
import { readGguf } from '../../src/read/gguf.ts';
import { formatCount } from '../../src/report/format.ts';
import { buildReport } from '../../src/report/report.ts';
import { conversions, sotu } from '../support/conversions.ts';
import { fakeIo } from '../support/io.ts';
import { gaussian } from '../support/random.ts';
import { floatTensor, writeSafetensors } from '../support/safetensors-writer.ts';
import { shortText } from '../support/short-text.ts';
import { temporaryDirectory } from '../support/temporary.ts';

/** 8-bit zero-point spreads one tensor over three; here they are put together again, as a reader of the file would. */

/** Slowest axis first: a matrix, stacked matrices, rows longer than a chunk of 32768. */
const shapes = { a: [5, 96], b: [3, 4, 64], c: [2, 40_000] };

describe('--method zero-point --bits 8', async () => {
  const directory = temporaryDirectory();
  const tensors = Object.entries(shapes).map(([name, shape], seed) => {
    const next = gaussian(seed);
    const values = Float32Array.from({ length: elementsOf(shape) }, () => next() + 0.5 * seed);
    return { name, shape, values };
  });
  const [input, output] = ['in.safetensors', 'out.gguf'].map((name) => join(directory, name));
  writeSafetensors(
    input,
    tensors.map(({ name, shape, values }) => floatTensor(`${name}.weight`, 'F32', shape, values)),
  );
  const result = await quantize({
    ...{ input, output, method: 'zero-point', bits: 8 },
    ...{ threads: 2, chunkSize: 32_768 },
  });
  const bytes = readFileSync(output);
  const stored = new Map(readGguf(output).tensors.map((tensor) => [tensor.name, tensor]));
  /** A copy of a tensor's data. */
  const dataOf = (name: string): ArrayBuffer => {
    const { offset, byteLength } = stored.get(name)!;
    return Uint8Array.from(bytes.subarray(offset, offset + byteLength)).buffer;
  };

  it.each(tensors)('$name $shape', ({ name, shape, values }) => {
    expect(stored.get(`${name}.weight`)!.shape).toEqual(shape);
    for (const part of ['scale', 'zero_point']) {
      expect(stored.get(`${name}.${part}`)!.shape).toEqual(shape.slice(0, -1));
    }
    const codes = new Int8Array(dataOf(`${name}.weight`));
    const scales = new Float32Array(dataOf(`${name}.scale`));
    const zeroPoints = new Int8Array(dataOf(`${name}.zero_point`));
    const width = shape.at(-1)!;
    let worst = 0;
    for (let row = 0; row < scales.length; row++) {
      const weights = values.subarray(row * width, (row + 1) * width);
      const [low, high] = [Math.min(0, ...weights), Math.max(0, ...weights)];
      const scale = scales[row];
      expect(scale).toBe(Math.fround((high - low) / 255));
      expect(Math.abs(-128 - low / scale - zeroPoints[row])).toBeLessThanOrEqual(0.5);
      let largest = 0;
      for (const [i, x] of weights.entries()) {
        const decoded = Math.fround((codes[row * width + i] - zeroPoints[row]) * scale);
        largest = Math.max(largest, Math.abs(x - decoded));
      }
      // Half a step, and as much again at the ends of the range, which the zero point shifts by its own rounding.
      expect(largest).toBeLessThanOrEqual(scale * 1.001);
      worst = Math.max(worst, largest);
    }
    const { sums } = result.tensors.find(({ tensor }) => tensor.name === `${name}.weight`)!;
    expect(sums.maxError).toBe(worst);
    expect(sums.count).toBe(values.length);
  });
});

describe('a file that nothing runs', () => {
  const converted = conversions(sotu);
  const method = { method: 'zero-point', bits: 8 } as const;
  const text = shortText(temporaryDirectory(), 1024);
  const failure = async (act: () => unknown): Promise<Error> => {
    try {
      await act();
    } catch (error) {
      return error as Error;
    }
    throw new Error('nothing was refused');
  };

  it('is not made to be evaluated', async () => {
    const error = await failure(() => planQuantization({ input: sotu, ...method, evalText: text }));
    expect(error).toBeInstanceOf(UsageError);
    expect(error.message).toMatch(/--eval runs the file[\s\S]*no GGUF block type has an integer zero point/);
    expect(planQuantization({ input: sotu, ...method }).plan.runnable.yes).toBe(false);
  });

  it('has the weights and bits in its plan that its report has', async () => {
    const { plan, layout } = planQuantization({ input: sotu, ...method });
    const fake = fakeIo();
    await showPlan(plan, layout, false, fake.io);
    const { model } = buildReport((await converted(method)).result);
    expect(fake.stdout()).toContain(
      `${formatCount(model.weights)} weights in ${model.tensors} tensors, ${model.bitsPerWeight.toFixed(2)} bits per weight`,
    );
    expect(model.bitsPerWeight.toFixed(2)).toBe('8.15');
  });

  it('is named as what it is when it is to be run, with three of its tensors', async () => {
    const { path } = await converted(method);
    const error = await failure(() => evaluate({ input: path, text, context: 64, windows: 1, threads: 1 }));
    expect(error.name).toBe('ForwardTensorError');
    expect(error.message).toContain('8-bit zero-point codes cannot be run');
    expect(error.message).toMatch(/tensor: +(\S+, ){2}\S+ and 55 more\n/);
    expect(error.message).not.toContain('metadata');
  });
});
