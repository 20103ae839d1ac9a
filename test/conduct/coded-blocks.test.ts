import { expect, it } from 'vitest';
import { CodedBlocks } from '../../src/conduct/coded-blocks.ts';

const facts = {
  tokens: 900,
  damping: 0.01,
  escalations: 0,
  condition: 50,
  deadChannels: 0,
  rounding: 'gptq',
} as const;

/** Two experts of three rows of 32 weights: 18 bytes a row. */
const experts = {
  name: 'blk.0.ffn_up_exps.weight',
  shape: [32, 3, 2],
  type: 'Q4_0',
  statistics: 'hessian',
} as const;

it('puts the blocks of experts one behind the other, and reports them together', () => {
  const coded = new CodedBlocks(experts);
  coded.add(
    0,
    new Uint8Array(54).fill(1),
    { signal: 3, result: 0.1, plain: 0.4, weighted: 0.2 },
    { ...facts, condition: null },
  );
  coded.add(
    3,
    new Uint8Array(54).fill(2),
    { signal: 1, result: 0.5, plain: 0.8, weighted: 0.6 },
    { ...facts, tokens: 7, damping: 0.1, escalations: 1, deadChannels: 4 },
  );
  const { name, blocks, calibration } = coded.finished();
  expect(name).toBe(experts.name);
  expect(blocks.buffer).toBeInstanceOf(SharedArrayBuffer);
  expect([...blocks]).toEqual([...new Uint8Array(54).fill(1), ...new Uint8Array(54).fill(2)]);
  const { outputError, ...rest } = calibration;
  expect(outputError.result).toBeCloseTo((0.3 + 0.5) / 4, 12);
  expect(outputError.nearest).toBeCloseTo((1.2 + 0.8) / 4, 12);
  expect(outputError.importance).toBeCloseTo((0.6 + 0.6) / 4, 12);
  // The worst of both: fewest tokens, most of what is bad.
  expect(rest).toEqual({ ...facts, tokens: 7, damping: 0.1, escalations: 1, deadChannels: 4 });
});

it('an expert that no token reached has no say in the error', () => {
  const coded = new CodedBlocks(experts);
  const some = { signal: 2, result: 0.1, plain: null, weighted: 0.2 };
  coded.add(0, new Uint8Array(54), some, facts);
  coded.add(
    3,
    new Uint8Array(54),
    { signal: 0, result: 0, plain: null, weighted: 0 },
    { ...facts, tokens: 0 },
  );
  const { outputError, tokens } = coded.finished().calibration;
  expect(outputError).toEqual({ result: 0.1, nearest: null, importance: 0.2 });
  expect(tokens).toBe(0);
});

it('without any input there is no error', () => {
  const coded = new CodedBlocks({ ...experts, shape: [32, 3] });
  const none = { signal: 0, result: 0, plain: 0, weighted: 0 };
  coded.add(0, new Uint8Array(54), none, { ...facts, condition: null });
  const { outputError, condition } = coded.finished().calibration;
  expect([outputError, condition]).toEqual([{ result: 0, nearest: 0, importance: 0 }, null]);
});
