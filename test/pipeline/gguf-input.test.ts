import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { MetadataEntry } from '../../src/core/metadata.ts';
import { planQuantization } from '../../src/pipeline.ts';
import { RequantizeError } from '../../src/plan/keep.ts';
import { mixtures } from '../../src/plan/mixtures.ts';
import { openCheckpoint } from '../../src/read/checkpoint.ts';
import { engineDirectory } from '../engine/ggml.ts';
import { readGgufTensors } from '../engine/gguf.ts';
import { describeGgufInputs } from '../support/gguf-inputs.ts';
import { dataOf, GgufRuns } from '../support/gguf-runs.ts';
import { put, temporaryDirectory } from '../support/temporary.ts';

/** GGUF as input: whole files against llama_model_quantize of the same input. */

const directory = temporaryDirectory();
const runs = new GgufRuns(directory);
const golden = '../shared/golden/visible';
const bundled = 'fixtures/sotu-3m';

describeGgufInputs(runs, [
  [bundled, ['BF16'], ['Q2_K', 'IQ4_XS']],
  [bundled, ['F32', 'F16', 'Q8_0', 'Q4_K_M'], ['Q4_K_M']],
  [`${golden}/mixtral_256/checkpoint`, ['BF16'], ['Q2_K', 'IQ4_XS']],
  [`${golden}/llama3_tied/checkpoint`, ['BF16'], ['Q3_K_L']],
]);

describe.skipIf(engineDirectory === null)('options on a GGUF', () => {
  const ftype = mixtures.Q4_K_M.fileType!;

  it.each([
    ['--pure', { pure: true }],
    ['--leave-output-tensor', { leaveOutputTensor: true }],
    ['--token-embedding-type', { tokenEmbeddingType: 'Q8_0' }],
    ['--output-tensor-type', { outputTensorType: 'Q5_0' }],
    ['--tensor-type', { tensorTypes: [{ pattern: 'ffn_up|blk\\.0\\.attn_q', type: 'Q5_1' }] }],
  ] as const)('%s', async (_, options) => {
    const input = await runs.converted(bundled, 'BF16');
    await runs.expectSame(input, { type: 'Q4_K_M', ...options }, { ftype, ...options });
  });

  it('axes of extent 1 at the end are dropped', async () => {
    const bf16 = await runs.converted(bundled, 'BF16');
    const input = runs.rewritten(bf16, 'ones.gguf', ({ tensors }) => ({
      tensors: new Map([...tensors].map(([name, one]) => [name, { ...one, shape: [1, ...one.shape] }])),
    }));
    await runs.expectSame(input, { type: 'Q4_K_M' }, { ftype });
  });

  it('an alignment other than 32 is obeyed; llama-quantize writes what nobody can read', async () => {
    const alignment = 4096;
    const bf16 = await runs.converted(bundled, 'BF16');
    const aligned = (metadata: readonly MetadataEntry[]) => ({
      metadata: [...metadata, { key: 'general.alignment', type: 'UINT32', value: alignment } as const],
    });
    const input = runs.rewritten(bf16, 'aligned.gguf', ({ metadata }) => aligned(metadata), alignment);
    const theirs = put(directory, 'theirs-kept.gguf', runs.theirs(input, { ftype }));
    expect(() => readGgufTensors(theirs)).toThrow('cannot read');
    const ours = put(directory, 'ours-kept.gguf', await runs.ours(input, { type: 'Q4_K_M' }));
    const plain = put(directory, 'plain-kept.gguf', await runs.ours(bf16, { type: 'Q4_K_M' }));
    expect(readGgufTensors(ours)).toEqual(readGgufTensors(plain));
    expect(contentOf(ours)).toEqual(contentOf(plain));
  });
});

/** A hash of every tensor's bytes, by name. */
function contentOf(path: string): [string, string][] {
  const checkpoint = openCheckpoint(path);
  const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
  return [...checkpoint.tensors.values()].map((tensor) => [tensor.name, sha256(dataOf(checkpoint, tensor))]);
}

describe('a GGUF that is quantized already', () => {
  it('is refused by the name of its tensor', async () => {
    const input = await runs.converted(bundled, 'Q4_K_M');
    const plan = () => planQuantization({ input, type: 'Q8_0' });
    expect(plan).toThrow(RequantizeError);
    expect(plan).toThrow(/token_embd\.weight[\s\S]*Q6_K, to become Q8_0[\s\S]*--allow-requantize/);
    const { warnings } = planQuantization({ input, type: 'Q8_0', allowRequantize: true }).plan;
    expect(warnings).toEqual([expect.stringMatching(/^29 tensors are quantized already \(Q6_K, Q4_K\)/)]);
  });

  it('is no matter where nothing changes', async () => {
    const input = await runs.converted(bundled, 'Q8_0');
    const { tensors, warnings } = planQuantization({ input, type: 'Q8_0' }).plan;
    expect(warnings).toEqual([]);
    expect(new Set(tensors.map(({ type }) => type))).toEqual(new Set(['Q8_0', 'F32']));
  });
});

describe('a split GGUF', () => {
  it.skipIf(engineDirectory === null)('is read as one, by any of its parts', async () => {
    const whole = await runs.converted(bundled, 'BF16');
    const parts = runs.split(whole, 'split', [0, 17, 1, 21]);
    const ftype = mixtures.Q4_K_M.fileType!;
    const theirs = runs.theirs(parts[0], { ftype });
    expect(theirs.equals(runs.theirs(whole, { ftype }))).toBe(true);
    for (const part of parts) {
      expect((await runs.ours(part, { type: 'Q4_K_M' })).equals(theirs)).toBe(true);
    }
  });

  it('keeps its tensors by part, and takes its name without numbers', async () => {
    const whole = await runs.converted(bundled, 'BF16');
    const parts = runs.split(whole, 'Some-Model-BF16', [1, 38]);
    const { plan, output, inputs } = planQuantization({ input: parts[1], type: 'Q4_K_M' });
    expect(output).toBe('Some-Model-Q4_K_M.gguf');
    expect(inputs).toEqual(parts);
    expect(plan.checkpoint.path).toBe(parts[1]);
    const first = openCheckpoint(whole).tensors.keys().next().value;
    for (const { name, source } of plan.tensors) {
      expect(source.kind === 'stored' && source.parts[0].file).toBe(name === first ? 0 : 1);
    }
    expect(plan.metadata.filter(({ key }) => key.startsWith('split.'))).toEqual([]);
  });
});

describe('a GGUF of no known model', () => {
  it('is quantized matrix by matrix, in its own order, and said not to run', async () => {
    const bf16 = await runs.converted(bundled, 'BF16');
    const input = runs.rewritten(bf16, 'nameless.gguf', ({ metadata }) => ({
      metadata: metadata.filter(({ key }) => key !== 'general.architecture'),
    }));
    const { plan } = planQuantization({ input, type: 'Q4_K_M' });
    expect(plan.runnable).toEqual({ yes: false, reason: expect.stringContaining('metadata') });
    expect(plan.tensors.map(({ name }) => name)).toEqual([...openCheckpoint(input).tensors.keys()]);
    expect(new Set(plan.tensors.map(({ type }) => type))).toEqual(new Set(['Q4_K', 'F32']));
  });
});
