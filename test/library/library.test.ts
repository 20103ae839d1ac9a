import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  buildReport,
  collectActivations,
  collectImportance,
  evaluateModel,
  ggmlTypes,
  imatrixFile,
  openCheckpoint,
  planQuantization,
  QuantizeError,
  quantizeCheckpoint,
  statisticsFile,
  UsageError,
} from '../../src/index.ts';
import { shortText } from '../support/short-text.ts';
import { temporaryDirectory } from '../support/temporary.ts';

const model = 'fixtures/sotu-3m';
const directory = temporaryDirectory();

describe('the library', () => {
  it('does the main job and builds the report', async () => {
    const output = join(directory, 'm.gguf');
    const seen: string[] = [];
    const result = await quantizeCheckpoint(
      { input: model, output, type: 'Q4_K_M', threads: 1 },
      ({ kind }) => seen.push(kind),
    );
    expect(readFileSync(output).length).toBe(result.fileBytes);
    expect(result.fileBytes).toBe(planQuantization({ input: model, type: 'Q4_K_M' }).layout.fileBytes);
    expect(new Set(seen)).toEqual(new Set(['stage', 'plan', 'progress']));
    expect(buildReport(result).tensors.length).toBe(openCheckpoint(model).tensors.size);
  });

  it('collects importance, which the main job takes from a file', async () => {
    const { entries, corpus } = await collectImportance({
      input: model,
      ...{ calibrationTokens: 512, context: 128, threads: 1 },
    });
    expect(corpus).toMatchObject({ tokens: 512, windows: 4, context: 128 });
    const imatrix = join(directory, 'imatrix.gguf');
    const facts = { datasets: [corpus.corpus], chunks: corpus.windows, chunkSize: corpus.context };
    writeFileSync(imatrix, imatrixFile(entries, facts));
    const { plan } = planQuantization({ input: model, type: 'Q4_K', imatrix });
    const weighed = plan.tensors.filter(({ importance }) => importance).map(({ name }) => name);
    expect(weighed.length).toBe(entries.length);
    expect(new Set(weighed)).toEqual(new Set(entries.map(({ name }) => name)));
  });

  it('evaluates a model, against another form of it', async () => {
    const input = join(directory, 'q2.gguf');
    await quantizeCheckpoint({ input: model, output: input, type: 'Q2_K', threads: 1 });
    const common = { text: shortText(directory, 256), context: 128, windows: 2, threads: 1 };
    const alone = await evaluateModel({ ...common, input: model });
    const { tokens, perplexity, base } = await evaluateModel({ ...common, input, base: model });
    expect(alone.base).toBe(null);
    expect(tokens).toBe(2 * 63);
    expect(base?.perplexity).toBeCloseTo(alone.perplexity, 3);
    expect(perplexity).not.toBeCloseTo(alone.perplexity, 1);
    expect(base?.divergence.mean).toBeGreaterThan(0.01);
  });

  it('collects ranges of inputs, which evaluation and the main job take from a file', async () => {
    const { statistics, gemm, warnings } = await collectActivations({
      input: model,
      ...{ calibrationTokens: 128, context: 64, threads: 2, gemm: 'wasm', percentile: 99.5 },
    });
    expect([gemm, warnings]).toEqual(['wasm', []]);
    expect(statistics).toMatchObject({ percentile: 99.5, corpus: { tokens: 128, windows: 2, context: 64 } });
    const inputScales = join(directory, 'stats.json');
    writeFileSync(inputScales, statisticsFile(statistics));
    const { plan } = planQuantization({ input: model, type: 'Q8_0', inputScales });
    expect(plan.tensors.filter(({ inputScale }) => inputScale).length).toBe(28);
    const { activations } = await evaluateModel({
      ...{ input: model, text: 'fixtures/text/eval.txt', context: 64, windows: 1, threads: 2 },
      ...{ stats: inputScales, activations: [{ kind: 'static', bits: 8, symmetric: true, range: 'mse' }] },
    });
    expect(activations).toMatchObject([{ scheme: 'static:8:mse', bits: 8 }]);
  });

  it('throws what users can cause as QuantizeError, wrong options as UsageError', async () => {
    await expect(quantizeCheckpoint({ input: join(directory, 'none') })).rejects.toThrow(QuantizeError);
    await expect(quantizeCheckpoint({ input: model, type: 'Q9' })).rejects.toThrow(UsageError);
  });

  it('stops when the signal aborts and leaves nothing at the output', async () => {
    const output = join(directory, 'aborted.gguf');
    const signal = AbortSignal.abort('enough');
    await expect(quantizeCheckpoint({ input: model, output, type: 'Q8_0', signal })).rejects.toThrow(
      'interrupted',
    );
    expect(existsSync(output)).toBe(false);
  });

  it('knows the types of GGUF and no others', () => {
    expect(ggmlTypes.Q4_K).toMatchObject({ ggmlId: 12, blockSize: 256, typeSize: 144 });
    expect(ggmlTypes.F8_E4M3).toBeUndefined();
  });
});
