import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { collectActivations } from '../../src/model-runs.ts';
import { readGguf } from '../../src/read/gguf.ts';
import { buildReport } from '../../src/report/report.ts';
import { statisticsFile } from '../../src/write/activation-statistics.ts';
import { conversions } from '../support/conversions.ts';
import { forwardModel, forwardTeam, logitsOf } from '../support/forward.ts';
import { tinyMixtral } from '../support/mixtral.ts';
import { shortText } from '../support/short-text.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { tinyLlama } from '../support/tiny-llama.ts';
import { engineDirectory } from './ggml.ts';
import { Llama } from './llama.ts';

/** A file with static scales of inputs loads in the engine, which gives the same logits as without them. */
it.skipIf(engineDirectory === null).each(['dense', 'experts'])('input scales: %s', async (kind) => {
  const directory = temporaryDirectory();
  const input = (kind === 'dense' ? tinyLlama : tinyMixtral)(temporaryDirectory());
  const { statistics } = await collectActivations(
    { input, calibration: [shortText(directory, 512)], calibrationTokens: 512, context: 64, threads: 2 },
    () => {},
  );
  const inputScales = join(directory, 'stats.json');
  writeFileSync(inputScales, statisticsFile(statistics));
  const convert = conversions(input);
  const without = (await convert({ type: 'Q8_0' })).path;
  const { path, result } = await convert({ type: 'Q8_0', inputScales });

  const names = readGguf(path).tensors.map(({ name }) => name);
  const added = names.filter((name) => !readGguf(without).tensors.some((tensor) => tensor.name === name));
  expect(added).toContain('blk.0.attn_q.input_scale');
  expect(added.every((name) => /^blk\.\d\.(attn|ffn)_\w+\.input_scale$/.test(name))).toBe(true);
  expect(added).toHaveLength(kind === 'dense' ? 2 * 7 : 7);
  const scale = result.tensors.find(({ tensor }) => tensor.name === 'blk.0.attn_q.input_scale')!;
  const { range } = statistics.groups[0].ranges.find(
    ({ bits, symmetric, method }) => bits === 8 && symmetric && method === 'mse',
  )!;
  expect(scale.tensor.source).toEqual({ kind: 'values', values: [range.scale] });

  const report = buildReport(result);
  const tensor = report.tensors.find(({ name }) => name === 'blk.0.attn_q.weight')!;
  expect(tensor.inputScale).toEqual({ bits: 8, symmetric: true, method: 'mse', scales: [range.scale] });
  expect(report.activations!.find((each) => each.tensor === tensor.name)!.mse).toBe(range.high);
  // Scales of inputs are no weights.
  expect(report.model.weights).toBe(buildReport((await convert({ type: 'Q8_0' })).result).model.weights);

  const tokens = Int32Array.from({ length: 20 }, (_, i) => 3 + 5 * i);
  const [with_, plain] = [path, without].map((file) => {
    const llama = Llama.load(file);
    const logits = llama.logits(tokens);
    llama.free();
    return logits;
  });
  expect(with_).toEqual(plain);

  const team = forwardTeam(1);
  const [own, other] = [path, without].map((file) => logitsOf(team, forwardModel(file), [tokens]));
  team.close();
  expect(own).toEqual(other);
});
