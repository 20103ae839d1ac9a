import { writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { collectActivationRanges } from '../../src/calibrate/activation-ranges.ts';
import { Activations } from '../../src/calibrate/forward/activations.ts';
import type { ForwardModel } from '../../src/calibrate/forward/shape.ts';
import { multipliedMatrices } from '../../src/calibrate/forward/tensors.ts';
import type { Team } from '../../src/compute/team.ts';
import { type ActivationStatistics, activationsName, parseActivations } from '../../src/core/activations.ts';
import { UsageError } from '../../src/core/errors.ts';
import { evaluate } from '../../src/evaluate/evaluate.ts';
import { collectActivations, evaluate as evaluateModel } from '../../src/model-runs.ts';
import { statisticsFile } from '../../src/write/activation-statistics.ts';
import { conversions, sotu } from '../support/conversions.ts';
import { forwardModel, forwardPass, forwardTeam, logitsOf } from '../support/forward.ts';
import { tinyMixtral } from '../support/mixtral.ts';
import { uniform } from '../support/random.ts';
import { shortText } from '../support/short-text.ts';
import { temporaryDirectory } from '../support/temporary.ts';

const random = uniform(3);
const windows = Array.from({ length: 4 }, () =>
  Int32Array.from({ length: 30 }, () => Math.floor(2048 * random())),
);
const convert = conversions(sotu);
let team: Team;
let base: ForwardModel;
let model: ForwardModel;
let statistics: ActivationStatistics;
beforeAll(async () => {
  team = forwardTeam(2);
  base = forwardModel(sotu);
  model = forwardModel((await convert({ type: 'Q4_K_M' })).path);
  statistics = statisticsOf(base);
});
afterAll(() => team.close());

function statisticsOf(of: ForwardModel): ActivationStatistics {
  const pass = forwardPass(team, of, windows);
  const groups = collectActivationRanges(pass, 99.9);
  pass.close();
  const corpus = { corpus: '', files: [], tokens: 0, windows: 0, context: 0, sha256: '', seed: 0 };
  return { corpus, percentile: 99.9, groups };
}

const options = { stateBytes: 1 << 28, scratchDirectory: tmpdir() };
const schemes = ['dynamic', 'dynamic-block', 'static', 'static:4:entropy'].map(parseActivations);

describe('a model with quantized activations', () => {
  it('has the perplexity of its logits', () => {
    const found = evaluate({
      ...options,
      team,
      model,
      base: null,
      windows,
      activations: schemes,
      statistics,
    });
    const plain = evaluate({ ...options, team, model, base: null, windows });
    expect(found).toMatchObject(plain);
    expect(found.activations!.map(({ scheme, bits }) => [scheme, bits])).toEqual([
      ['dynamic:8', 8],
      ['dynamic-block:8', 8],
      ['static:8:mse', 8],
      ['static:4:entropy', 4],
    ]);
    for (const [i, scheme] of schemes.slice(0, 2).entries()) {
      const logits = logitsOf(team, model, windows, undefined, new Activations(team, scheme, null));
      let [sum, count] = [0, 0];
      for (const [w, window] of windows.entries()) {
        for (let t = 15; t < 29; t++) {
          const row = logits[30 * w + t];
          sum += Math.log(row.reduce((all, x) => all + Math.exp(x), 0)) - row[window[t + 1]];
          count++;
        }
      }
      expect(found.activations![i].perplexity / Math.exp(sum / count)).toBeCloseTo(1, 5);
    }
  });

  it('is compared with a base that keeps its activations', () => {
    const { activations, base: own } = evaluate({
      ...{ ...options, team, model, base, windows, activations: schemes, statistics },
    });
    for (const each of activations!) expect(each.base!.perplexity).toBe(own!.perplexity);
    const means = activations!.map((each) => each.base!.divergence.mean);
    expect(means[3]).toBeGreaterThan(10 * means[0]); // 4 bits against 8
    expect(means[2]).toBeGreaterThan(own!.divergence.mean);
  });

  it('says of how many matrices dynamic-block left the inputs in floats', async () => {
    const run = (of: ForwardModel) =>
      evaluate({
        ...{ ...options, team, model: of, base: null, windows: windows.slice(0, 1) },
        activations: ['dynamic-block:4', 'dynamic:4'].map(parseActivations),
      }).activations!.map(({ bits, floatInputs }) => [bits, floatInputs]);
    expect(run(base)).toEqual([
      [16, { matrices: 29, of: 29 }], // bfloat16
      [4, undefined],
    ]);
    expect(run(model)).toEqual([
      [4, undefined],
      [4, undefined],
    ]);
    const mixed = await convert({ type: 'Q8_0', tensorTypes: [{ pattern: 'ffn_down', type: 'F16' }] });
    expect(run(forwardModel(mixed.path))[0]).toEqual([4, { matrices: 4, of: 29 }]);
  });

  it('wants what it needs', async () => {
    const refused = (over: object) => () => evaluate({ ...options, team, model, base, windows, ...over });
    expect(refused({ activations: [parseActivations('static')] })).toThrow(/--stats/);
    expect(refused({ activations: [parseActivations('bitlinear')] })).toThrow(/ternary/);
    expect(refused({ base: null, layers: true })).toThrow(UsageError);
    const other = { ...statistics, groups: statistics.groups.slice(1) };
    expect(refused({ activations: [parseActivations('static')], statistics: other })).toThrow(
      /blk\.0\.attn_q\.weight/,
    );
  });
});

it('is run by the command over statistics from a file', async () => {
  const { path } = await convert({ type: 'Q4_K_M' });
  const stats = join(temporaryDirectory(), 'stats.json');
  writeFileSync(stats, statisticsFile(statistics));
  const text = shortText(temporaryDirectory(), 192);
  const found = await evaluateModel(
    {
      input: path,
      base: sotu,
      text,
      context: 64,
      windows: 3,
      threads: 2,
      activations: schemes,
      stats,
      layers: true,
    },
    () => {},
  );
  expect(found.activations!.map(({ scheme }) => scheme)).toEqual(schemes.map(activationsName));
  expect(found.weightBits).toBeCloseTo(5.1, 1);
  expect(found.layers).toHaveLength(29);
  expect(found.activationsFrom).toEqual({
    corpus: statistics.corpus,
    percentile: statistics.percentile,
  });
});

it('refuses statistics of other widths', async () => {
  const stats = join(temporaryDirectory(), 'other.json');
  const groups = statistics.groups.map((group, i) => (i === 1 ? { ...group, columns: 7 } : group));
  writeFileSync(stats, statisticsFile({ ...statistics, groups }));
  const text = shortText(temporaryDirectory(), 64);
  const options = { input: sotu, text, context: 64, windows: 1, threads: 1, stats };
  await expect(evaluateModel({ ...options, activations: schemes })).rejects.toThrow(
    /other\.json\n +tensor: +blk\.0\.attn_output\.weight\n +expected: inputs of 256 values\n +got: +inputs of 7 values/,
  );
});

it('refuses statistics that no scheme reads', async () => {
  const options = { input: sotu, text: 'no text', stats: 'no statistics' };
  for (const activations of [undefined, ['dynamic', 'bitlinear'].map(parseActivations)]) {
    await expect(evaluateModel({ ...options, ...(activations && { activations }) })).rejects.toThrow(
      /^--stats holds ranges of static activations, and none were asked for/,
    );
  }
});

it('knows every matrix that has inputs', () => {
  for (const model of [base, forwardModel(tinyMixtral(temporaryDirectory()))]) {
    const seen = new Set(statisticsOf(model).groups.flatMap(({ tensors }) => tensors));
    expect(new Set(multipliedMatrices(model.tensors))).toEqual(seen);
  }
});

it('names the option of tokens as the command has it', async () => {
  await expect(
    collectActivations({ input: sotu, calibrationTokens: 10, threads: 1 }, () => {}),
  ).rejects.toThrow('raise --tokens or lower --context');
});

describe('BitLinear', () => {
  it('predicts as the float product of the same codes does', async () => {
    const ternary = forwardModel((await convert({ method: 'ternary' })).path);
    const found = evaluate({
      ...{ ...options, team, model: ternary, base: null, windows },
      activations: ['bitlinear'].map(parseActivations),
    });
    const [{ perplexity, operations }] = found.activations!;
    // The same codes, but of the output too: its weights are not ternary.
    const [dynamic] = evaluate({
      ...{ ...options, team, model: ternary, base: null, windows },
      activations: ['dynamic'].map(parseActivations),
    }).activations!;
    expect(Math.abs(perplexity / dynamic.perplexity - 1)).toBeLessThan(0.01);
    expect(perplexity).not.toBe(found.perplexity);
    const { ternaryMatrices, otherMatrices, additions, skippedZeros, multiplications, multiplicationsSaved } =
      operations!;
    expect([ternaryMatrices, otherMatrices]).toEqual([28, 1]);
    const weights = 4 * (256 * (256 + 128 + 128 + 256) + 3 * 256 * 768);
    expect(additions + skippedZeros).toBe(120 * weights);
    expect(multiplications + multiplicationsSaved).toBe(120 * weights);
    expect(multiplications).toBeLessThan((120 * weights) / 100);
  });
});

/** The definition, from rows of inputs and weights, in float64. */
function outputError(inputs: number[][], own: Float32Array, other: Float32Array, columns: number): number {
  let [error, square] = [0, 0];
  for (const x of inputs) {
    for (let row = 0; row < own.length / columns; row++) {
      let [a, b] = [0, 0];
      for (let i = 0; i < columns; i++) {
        a += x[i] * own[row * columns + i];
        b += x[i] * other[row * columns + i];
      }
      error += (a - b) ** 2;
      square += a * a;
    }
  }
  return error / square;
}

describe('errors of outputs', () => {
  it('are those of their definition', () => {
    const { layers } = evaluate({
      ...{ ...options, team, model, base, windows: windows.slice(0, 1), activations: schemes, statistics },
      layers: true,
    });
    expect(layers!.map(({ tensor }) => tensor)).toEqual(statistics.groups.flatMap(({ tensors }) => tensors));
    const weightsOf = (of: ForwardModel, name: string) => {
      const pass = forwardPass(team, of, windows.slice(0, 1));
      const { address, rows, columns } = pass.source.load(name);
      const found = team.scope.floats(address, rows * columns).slice();
      pass.close();
      return found;
    };
    const pass = forwardPass(team, base, windows.slice(0, 1));
    const inputs = new Map<string, number[][]>();
    for (const step of pass.steps()) {
      step.advance(({ group, x, ldx, rows }) => {
        const all = Array.from({ length: rows }, (_, row) => [
          ...team.scope.floats(x + 4 * row * ldx, group.columns),
        ]);
        for (const tensor of group.tensors) inputs.set(tensor, all);
      });
    }
    pass.close();
    for (const tensor of ['blk.0.attn_v.weight', 'blk.1.attn_output.weight', 'blk.3.ffn_down.weight']) {
      const found = layers!.find((layer) => layer.tensor === tensor)!;
      const rows = inputs.get(tensor)!;
      const [own, other] = [base, model].map((each) => weightsOf(each, tensor));
      const expected = outputError(rows, own, other, found.columns);
      expect(found).toMatchObject({ layer: Number(tensor[4]), expert: null, inputs: 30 });
      expect(found.weightsOnly! / expected).toBeCloseTo(1, 3);
      // Every scheme adds to it, and 4 bits most of all.
      const errors = found.activations.map(({ error }) => error!);
      for (const error of errors) expect(error).toBeGreaterThan(found.weightsOnly! * 0.98);
      expect(Math.max(...errors)).toBe(errors[3]);
    }
    const output = layers!.at(-1)!;
    expect(output).toMatchObject({
      tensor: 'token_embd.weight',
      layer: null,
      type: 'Q6_K',
      rows: 2048,
      inputs: 30,
    });
    expect(output.weightsOnly!).toBeGreaterThan(0);
    expect(output.weightsOnly!).toBeLessThan(1e-3);
  });

  it('are nothing for the same model, and the same at any number of threads', () => {
    const run = (crew: Team, of: ForwardModel) =>
      evaluate({
        ...options,
        team: crew,
        model: of,
        base,
        windows,
        activations: schemes,
        statistics,
        layers: true,
      });
    for (const { weightsOnly, activations } of run(team, base).layers!) {
      expect(weightsOnly).toBe(0);
      expect(activations[0].error).toBeGreaterThan(0);
    }
    const three = forwardTeam(3);
    expect(run(three, model)).toEqual(run(team, model));
    three.close();
  });

  it('of experts are those of the tokens that were sent to each', () => {
    const experts = forwardModel(tinyMixtral(temporaryDirectory()));
    const own = statisticsOf(experts);
    const { layers } = evaluate({
      ...{ ...options, team, model: experts, base: experts, windows, statistics: own, layers: true },
      activations: [parseActivations('static')],
    });
    const downs = layers!.filter(({ tensor }) => tensor === 'blk.0.ffn_down_exps.weight');
    expect(downs.map(({ expert }) => expert)).toEqual(downs.map((_, expert) => expert));
    expect(downs.length).toBeGreaterThan(1);
    const tokens = windows.length * 30;
    const used = downs.reduce((sum, { inputs }) => sum + inputs, 0) / tokens;
    expect(Number.isInteger(used) && used > 0).toBe(true);
    for (const { inputs, weightsOnly } of downs) expect(weightsOnly).toBe(inputs > 0 ? 0 : null);
  });
});
