import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { Team } from '../../src/compute/team.ts';
import { repository } from '../support/checkpoints.ts';
import { conversions, sotu } from '../support/conversions.ts';
import { forwardModel, forwardTeam, logitsOf } from '../support/forward.ts';
import { goldenModels } from '../support/golden.ts';
import { engineDirectory } from './ggml.ts';
import { Llama } from './llama.ts';

const CONTEXT = 96;

/** Largest difference between two sets of logits over the largest logit of the first. */
function difference(expected: readonly Float32Array[], got: readonly Float32Array[]): number {
  let [largest, worst] = [0, 0];
  for (const [row, logits] of expected.entries()) {
    for (const [i, logit] of logits.entries()) {
      largest = Math.max(largest, Math.abs(logit));
      const gap = Math.abs(logit - got[row][i]);
      worst = Number.isNaN(gap) ? Number.NaN : Math.max(worst, gap);
    }
  }
  return worst / largest;
}

/** Two windows of ids all over the vocabulary, more of them than one thread takes at a time. */
const windowsFor = (vocabulary: number, count = 2): Int32Array[] =>
  Array.from({ length: count }, (_, w) =>
    Int32Array.from({ length: CONTEXT }, (_, i) => (7919 * (w * CONTEXT + i) + 13 * i * i) % vocabulary),
  );

describe.skipIf(engineDirectory === null)('logits equal those of llama.cpp', () => {
  let team: Team | undefined;
  const crew = () => (team ??= forwardTeam(2));
  afterAll(() => team?.close());

  function compare(path: string, input = path): number {
    const llama = Llama.load(path, { context: CONTEXT, exact: true });
    const windows = windowsFor(llama.vocabularySize);
    const expected = windows.flatMap((window) => llama.logits(window));
    llama.free();
    return difference(expected, logitsOf(crew(), forwardModel(input), windows));
  }

  const ts = join(repository, '../shared/models/ts-656k');
  const models = [
    { name: 'sotu-3m', there: true, checkpoint: sotu },
    { name: 'ts-656k', there: existsSync(ts), checkpoint: ts },
    ...goldenModels,
  ];
  for (const { name, there, checkpoint } of models) {
    it.skipIf(!there)(`${name}, F32`, async () => {
      const { path } = await conversions(checkpoint)({ type: 'F32' });
      const gap = compare(path, checkpoint);
      expect(gap).toBeLessThan(1e-4); // 6e-6 at most was measured
    });
  }
});
