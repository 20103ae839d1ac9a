import { readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Team } from '../../src/compute/team.ts';
import { parseActivations } from '../../src/core/activations.ts';
import { evaluate } from '../../src/evaluate/evaluate.ts';
import { repository } from '../support/checkpoints.ts';
import { conversions, sotu } from '../support/conversions.ts';
import { forwardModel, forwardTeam } from '../support/forward.ts';
import { engineDirectory } from './ggml.ts';
import { Llama } from './llama.ts';

/** Activations as the engine's CPU code quantizes them: the same model, the same text. */
describe.skipIf(engineDirectory === null)('dynamic-block, against llama.cpp', () => {
  const text = readFileSync(join(repository, 'fixtures/text/eval.txt'), 'utf8');
  const [count, context] = [10, 256];
  const convert = conversions(sotu);
  let team: Team;
  beforeAll(() => {
    team = forwardTeam(2);
  });
  afterAll(() => team.close());

  // Perplexities differ from the engine's by at most 1e-4 of them with, by up to 2e-3 without.
  it.each(['Q8_0', 'Q4_0', 'Q4_1', 'Q4_K_M', 'Q2_K', 'IQ4_XS', 'TQ2_0', 'F16', 'BF16'])('%s', async (type) => {
    const { path } = await convert({ type });
    const llama = Llama.load(path, { context, exact: true });
    const tokens = llama.tokenize(text);
    const expected = llama.perplexity(tokens, { context, windows: count });
    llama.free();
    const found = evaluate({
      team,
      model: forwardModel(path),
      base: null,
      windows: Array.from({ length: count }, (_, w) => tokens.slice(w * context, (w + 1) * context)),
      bos: null,
      activations: [parseActivations('dynamic-block')],
      stateBytes: 1 << 28,
      scratchDirectory: tmpdir(),
    });
    const ratio = found.activations![0].perplexity / expected;
    console.log(type, 'with', ratio - 1, 'without', found.perplexity / expected - 1);
    expect(Math.abs(ratio - 1)).toBeLessThan(5e-4);
  });
});
