import { createHash } from 'node:crypto';
import { tmpdir } from 'node:os';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { ForwardModel } from '../../src/calibrate/forward/shape.ts';
import type { Step } from '../../src/calibrate/forward/step.ts';
import { WeightSource } from '../../src/calibrate/forward/weights.ts';
import type { Team } from '../../src/compute/team.ts';
import { UsageError } from '../../src/core/errors.ts';
import { evaluate } from '../../src/evaluate/evaluate.ts';
import { summarize } from '../../src/evaluate/statistics.ts';
import { conversions, sotu } from '../support/conversions.ts';
import { forwardModel, forwardTeam, logitsOf } from '../support/forward.ts';
import { tinyMixtral } from '../support/mixtral.ts';
import { uniform } from '../support/random.ts';
import { temporaryDirectory } from '../support/temporary.ts';

const CONTEXT = 45;
const random = uniform(2);
const windows = Array.from({ length: 5 }, () =>
  Int32Array.from({ length: CONTEXT }, () => Math.floor(2048 * random())),
);

let team: Team;
let base: ForwardModel;
let model: ForwardModel;
const convert = conversions(sotu);
beforeAll(async () => {
  team = forwardTeam(2);
  base = forwardModel(sotu);
  model = forwardModel((await convert({ type: 'Q2_K' })).path);
});
afterAll(() => team.close());

const options = { stateBytes: 1 << 28, scratchDirectory: tmpdir() };

/** The definitions, from all logits, in float64. */
function expectedFigures(models: readonly ForwardModel[]) {
  const [logits, baseLogits] = models.map((each) => logitsOf(team, each, windows));
  const losses: number[] = [];
  const baseLosses: number[] = [];
  const divergences: number[] = [];
  let agreeing = 0;
  for (const [w, window] of windows.entries()) {
    for (let i = Math.floor(CONTEXT / 2); i < CONTEXT - 1; i++) {
      const [p, q] = [
        logProbabilities(baseLogits[w * CONTEXT + i]),
        logProbabilities(logits[w * CONTEXT + i]),
      ];
      losses.push(-q[window[i + 1]]);
      baseLosses.push(-p[window[i + 1]]);
      divergences.push(p.reduce((sum, value, t) => sum + Math.exp(value) * (value - q[t]), 0));
      if (q.indexOf(Math.max(...q)) === p.indexOf(Math.max(...p))) agreeing++;
    }
  }
  return { losses, baseLosses, divergences, agreeing };
}

function logProbabilities(logits: Float32Array): number[] {
  const max = Math.max(...logits);
  const sum = logits.reduce((total, logit) => total + Math.exp(logit - max), 0);
  return Array.from(logits, (logit) => logit - max - Math.log(sum));
}

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

describe('a model against its base', () => {
  it('has the figures of their definitions', () => {
    const found = evaluate({ team, model, base, windows, ...options });
    const { losses, baseLosses, divergences, agreeing } = expectedFigures([model, base]);
    const n = 5 * 22;
    expect(losses).toHaveLength(n);
    expect(found).toMatchObject({ context: CONTEXT, windows: 5, tokens: n });
    expect(found.sha256).toBe(
      createHash('sha256')
        .update(Int32Array.from(windows.flatMap((w) => [...w])))
        .digest('hex'),
    );
    const perplexity = Math.exp(mean(losses));
    expect(found.perplexity / perplexity).toBeCloseTo(1, 10);
    const variance = mean(losses.map((loss) => loss ** 2)) - mean(losses) ** 2;
    expect(found.standardError / (perplexity * Math.sqrt(variance / (n - 1)))).toBeCloseTo(1, 8);
    expect(found.base!.perplexity / Math.exp(mean(baseLosses))).toBeCloseTo(1, 10);
    expect(found.base!.divergence.mean).toBeCloseTo(mean(divergences), 9);
    expect(found.base!.divergence.mean).toBeGreaterThan(0.01);
    expect(found.base!.divergence.max).toBeCloseTo(Math.max(...divergences), 9);
    expect(found.base!.topAgreement).toBe(agreeing / n);
    expect(found.base!.topAgreement).toBeLessThan(1);
  });

  it('is the same where the vocabulary comes in parts', () => {
    const whole = evaluate({ team, model, base, windows, ...options });
    const loads = vi.spyOn(WeightSource.prototype, 'load');
    const small = forwardTeam(1, 8 << 20);
    const inParts = evaluate({ team: small, model, base, windows, ...options });
    small.close();
    expect(loads.mock.calls.filter(([name]) => name === 'token_embd.weight').length).toBeGreaterThan(2);
    loads.mockRestore();
    expect(inParts.perplexity / whole.perplexity).toBeCloseTo(1, 12);
    expect(inParts.base!.divergence.mean).toBeCloseTo(whole.base!.divergence.mean, 12);
    expect(inParts.base!.topAgreement).toBe(whole.base!.topAgreement);
  });

  it('is no distance from itself', () => {
    const steps: string[] = [];
    const onStep = ({ layer, title }: Step, done: number, total: number) =>
      steps.push(`${layer} ${title} ${done}/${total}`);
    const found = evaluate({ team, model, base: model, windows, ...options, onStep });
    expect(found.base!.perplexity).toBe(found.perplexity);
    expect(found.base!.topAgreement).toBe(1);
    expect(Math.abs(found.base!.divergence.max)).toBeLessThan(1e-12);
    expect(steps).toHaveLength(16);
    expect([steps[0], steps[15]]).toEqual(['0 attention 0/16', '3 feed-forward 15/16']);
  });

  it('is refused where the vocabulary is another', () => {
    const other = { ...base, tensors: base.tensors.map((tensor) => ({ ...tensor })) };
    const embedding = other.tensors.find(({ name }) => name === 'token_embd.weight')!;
    embedding.shape = [256, 2000];
    const short = windows.map((window) => window.map((id) => id % 2000));
    const run = () => evaluate({ team, model, base: other, windows: short, ...options });
    expect(run).toThrow(UsageError);
    expect(run).toThrow(/2000 tokens[\s\S]*2048 tokens/);
  });
});

it('needs no base', () => {
  const experts = forwardModel(tinyMixtral(temporaryDirectory()));
  const found = evaluate({ team, model: experts, base: null, windows, ...options });
  expect(found.base).toBeNull();
  expect(found.perplexity).toBeGreaterThan(1000); // random weights
  const withBase = evaluate({ team, model: experts, base: experts, windows, ...options });
  expect(withBase.perplexity).toBe(found.perplexity);
});

it('needs windows that hold something to predict', () => {
  for (const bad of [[], [Int32Array.of(1, 2)]]) {
    expect(() => evaluate({ team, model, base: null, windows: bad, ...options })).toThrow(/too short/);
  }
});

it('quantiles lie between the values, as in llama-perplexity', () => {
  const values = Float64Array.from({ length: 11 }, (_, i) => 10 - i);
  const { divergence, topAgreement } = summarize({
    loss: values,
    base: { loss: values, divergence: values, agreeing: 5 },
  }).base!;
  expect(divergence).toMatchObject({ mean: 5, median: 5, p90: 9, max: 10 });
  expect(divergence.p99).toBeCloseTo(9.9, 12);
  expect(divergence.p999).toBeCloseTo(9.99, 12);
  expect(divergence.standardError).toBeCloseTo(1, 12); // variance 10, 11 values
  expect(topAgreement).toBe(5 / 11);
});
