import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { type PipelineEvent, type QuantizeOptions, quantize } from '../../src/pipeline.ts';
import { openCheckpoint } from '../../src/read/checkpoint.ts';
import { buildReport } from '../../src/report/report.ts';
import { hashOf } from '../support/cli.ts';
import { dataOf } from '../support/gguf-runs.ts';
import { shortText } from '../support/short-text.ts';
import { put, temporaryDirectory } from '../support/temporary.ts';
import { tinyLlama } from '../support/tiny-llama.ts';

/** Whole runs of --method gptq. */

const directory = temporaryDirectory();
const at = (name: string) => join(directory, name);
const model = tinyLlama(at('model'));

/** Few tokens, and the output as it is: 2048 rows of it would take longer than all the rest. */
const options = {
  ...{ input: model, method: 'gptq', type: 'Q4_K_M', leaveOutputTensor: true, gemm: 'wasm' },
  ...{ calibration: [shortText(directory, 1024)], calibrationTokens: 1024, context: 256, threads: 2 },
} as const satisfies QuantizeOptions;

async function run(output: string, more: Partial<QuantizeOptions> = {}) {
  const events: PipelineEvent[] = [];
  const result = await quantize({ ...options, output: at(output), ...more }, (event) => events.push(event));
  const { run: facts, ...report } = buildReport(result);
  return { path: at(output), report, facts, events };
}

/** Type and bytes of every tensor, by name. */
function tensorsOf(path: string): Record<string, string> {
  const checkpoint = openCheckpoint(path);
  return Object.fromEntries(
    [...checkpoint.tensors.values()].map((tensor) => [
      tensor.name,
      `${tensor.type} ${tensor.shape} ${Buffer.from(dataOf(checkpoint, tensor)).toString('base64')}`,
    ]),
  );
}

let whole: Awaited<ReturnType<typeof run>>;
beforeAll(async () => {
  whole = await run('whole.gguf');
});

it('reports what became of every matrix, and on what', () => {
  const { report, facts } = whole;
  const calibrated = report.tensors.filter(({ calibration }) => calibration);
  expect(calibrated.map(({ name }) => name).toSorted()).toEqual(
    [0, 1]
      .flatMap((layer) =>
        ['attn_k', 'attn_output', 'attn_q', 'attn_v', 'ffn_down', 'ffn_gate', 'ffn_up'].map(
          (name) => `blk.${layer}.${name}.weight`,
        ),
      )
      .toSorted(),
  );
  for (const { calibration } of calibrated) {
    expect(calibration).toMatchObject({ tokens: 1024, damping: 0.01, escalations: 0, rounding: 'gptq' });
    const { nearest, importance, result } = calibration!.outputError;
    expect(result).toBeLessThan(importance!);
    expect(result).toBeLessThan(nearest!);
  }
  expect(report.model.calibration).toMatchObject({ tokens: 1024, windows: 4, context: 256, method: 'gptq' });
  expect(facts.gemm).toBe('wasm');
  expect(report.warnings.filter((text) => /too few/.test(text))).toEqual([]);
});

it('says where it is, layer by layer, and never goes back', () => {
  const steps = whole.events.filter((event) => event.kind === 'calibration');
  const names = steps.map(({ layer, step }) => `${layer} ${step}`);
  expect(names.slice(0, 4)).toEqual([
    '1 attn_q, attn_k, attn_v',
    '1 attn_output',
    '1 ffn_gate, ffn_up',
    '1 ffn_down',
  ]);
  const done = steps.map(({ done }) => done);
  expect(done).toEqual(done.toSorted((a, b) => a - b));
  expect(steps.every(({ done, total }) => done <= total)).toBe(true);
});

it('gives the same file and report at one thread, and with little memory', async () => {
  const other = await run('one.gguf', { threads: 1, memory: 96 << 20 });
  expect(hashOf(other.path)).toBe(hashOf(whole.path));
  expect(other.report).toEqual(whole.report);
});

it('refuses a text that is too short to evaluate on before it begins', async () => {
  const evalText = put(directory, 'short.txt', 'a few words');
  await expect(run('refused.gguf', { evalText })).rejects.toThrow('does not fill one window');
  expect(readdirSync(directory).filter((name) => name.startsWith('refused'))).toEqual([]);
});

it('gives the same tensors from a GGUF, in several files', async () => {
  const input = at('bf16.gguf');
  await quantize({ input: model, type: 'BF16', output: input });
  await run('split.gguf', { input, splitMaxTensors: 8 });
  const parts = readdirSync(directory).filter((name) => name.startsWith('split-'));
  expect(parts).toHaveLength(3);
  expect(tensorsOf(at(parts[0]))).toEqual(tensorsOf(whole.path));
});

describe('a text of its own', () => {
  const text = readFileSync(new URL('../../fixtures/text/eval.txt', import.meta.url), 'utf8').slice(0, 3000);

  it('too little of it for the width is a warning with the numbers', async () => {
    const place = at('text');
    mkdirSync(place);
    put(place, 'a.txt', text);
    const { report } = await run('short.gguf', {
      ...{ calibration: [place], calibrationTokens: 2048, type: 'Q4_0', pruneLayers: [1] },
    });
    expect(report.warnings.join('\n')).toMatch(
      /the calibration text gives \d+ tokens, not the 2048 asked for: all are used/,
    );
    const tokens = report.model.calibration!.tokens;
    expect(tokens).toBeLessThan(1024);
    expect(report.warnings.join('\n')).toContain(
      `7 tensors saw fewer than 4 inputs for each column, too few to tell columns apart; calibrate on more text (--calibration-tokens): blk.0.`,
    );
    expect(report.warnings.join('\n')).toContain(`(${tokens} inputs for 256 columns)`);
  });
});
