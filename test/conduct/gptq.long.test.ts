import { createHash } from 'node:crypto';
import { tmpdir } from 'node:os';
import { afterEach, describe, expect, it } from 'vitest';
import { REPRODUCIBLE } from '../../src/compute/gemm-choice.ts';
import type { Team } from '../../src/compute/team.ts';
import type { CodedTensor } from '../../src/conduct/coded-blocks.ts';
import { type CalibratedTensor, calibrateModel, type GptqOptions } from '../../src/conduct/gptq.ts';
import { openTeam } from '../../src/conduct/team.ts';
import { bytesOf, elementsOf, type TypeName } from '../../src/core/types.ts';
import { decoders } from '../../src/quantize/format/index.ts';
import { valueModel, valueWindows } from '../support/value-model.ts';

/** Whole models coded under their own inputs: what comes out does not depend on threads or memory, and each option counts. */

const open: Team[] = [];
afterEach(() => {
  for (const team of open.splice(0)) team.close();
});

const models = {
  dense: valueModel(),
  'one layer': valueModel({ layers: 1 }),
  experts: valueModel({ experts: 3, layers: 1 }),
};
type Kind = keyof typeof models;
/** Two slabs would be 2048 tokens; experts see few. */
const windows = valueWindows(5, 96);

/** Every matrix but the router and the embeddings; attn_output has rows of 64, which no K-quant divides. */
function tensorsOf(kind: Kind, type: TypeName = 'Q4_K'): CalibratedTensor[] {
  return models[kind].tensors
    .filter(({ name, shape }) => shape.length > 1 && !/token_embd|ffn_gate_inp/.test(name))
    .map(({ name, shape }) => ({
      name,
      shape,
      type: shape[0] % 256 === 0 ? type : 'Q4_0',
      statistics: type.startsWith('IQ3') && shape[0] % 256 === 0 ? 'importance' : 'hessian',
    }));
}

interface Coded {
  readonly hash: string;
  readonly tensors: ReadonlyMap<string, CodedTensor>;
}

function coded(kind: Kind, threads: number, options: Partial<GptqOptions> = {}): Coded {
  const team = openTeam(threads, 256 << 20, REPRODUCIBLE);
  open.push(team);
  const tensors = new Map<string, CodedTensor>();
  const before = team.arena.mark();
  calibrateModel(team, {
    ...{ model: models[kind], windows, tensors: tensorsOf(kind), embedding: null },
    ...{ rounding: 'gptq', damping: 0.01, actOrder: false, correction: 0.5 },
    ...{ stateBytes: 1 << 28, tileBytes: 1 << 28, scratchDirectory: tmpdir() },
    onCoded: (step) => {
      for (const tensor of step) {
        expect(tensors.has(tensor.name)).toBe(false);
        tensors.set(tensor.name, { ...tensor, blocks: tensor.blocks.slice() });
      }
    },
    onGroup: () => {},
    ...options,
  });
  expect(team.arena.mark()).toBe(before);
  const hash = createHash('sha256');
  for (const { name, blocks } of tensors.values()) hash.update(name).update(blocks);
  return { hash: hash.digest('hex'), tensors };
}

const errorsOf = ({ tensors }: Coded) =>
  [...tensors.values()].map(({ calibration }) => calibration.outputError);
const meanLog = (values: readonly number[]) =>
  values.reduce((sum, value) => sum + Math.log(value), 0) / values.length;

/** As it is, at two threads. */
const plain: { [kind in Kind]?: Coded } = {};
const plainly = (kind: Kind): Coded => (plain[kind] ??= coded(kind, 2));

describe('a dense model', () => {
  it('is coded in the order in which it calculates, every tensor once and whole', () => {
    const heard: string[] = [];
    const { tensors } = coded('dense', 2, {
      onGroup: ({ layer, tensors, done, total }) => heard.push(`${layer} ${tensors[0]} ${done}/${total}`),
    });
    const inLayer = (layer: number) =>
      ['attn_q', 'attn_k', 'attn_v', 'attn_output', 'ffn_gate', 'ffn_up', 'ffn_down'].map(
        (name) => `blk.${layer}.${name}.weight`,
      );
    expect([...tensors.keys()]).toEqual([...inLayer(0), ...inLayer(1), 'output.weight']);
    for (const { name, shape, type } of tensorsOf('dense')) {
      const { blocks, calibration } = tensors.get(name)!;
      expect(blocks.length).toBe(bytesOf(type, elementsOf(shape)));
      expect(calibration).toMatchObject({
        ...{ tokens: 480, damping: 0.01, escalations: 0, rounding: 'gptq' },
      });
      expect(calibration.condition).toBeGreaterThan(1);
    }
    expect(heard).toEqual([
      '0 blk.0.attn_q.weight 0/9',
      '0 blk.0.attn_output.weight 1/9',
      '0 blk.0.ffn_gate.weight 2/9',
      '0 blk.0.ffn_down.weight 3/9',
      '1 blk.1.attn_q.weight 4/9',
      '1 blk.1.attn_output.weight 5/9',
      '1 blk.1.ffn_gate.weight 6/9',
      '1 blk.1.ffn_down.weight 7/9',
      'null output.weight 8/9',
    ]);
  });

  it('loses less than ggml’s codings, and least of all with error feedback', () => {
    const gptq = plainly('dense');
    const nearest = coded('dense', 2, { rounding: 'nearest' });
    for (const { result, importance, nearest: plain } of errorsOf(gptq)) {
      expect(result).toBeLessThan(importance!);
      expect(result).toBeLessThan(plain!);
    }
    const [best, other] = [gptq, nearest].map((run) => meanLog(errorsOf(run).map(({ result }) => result)));
    expect(best).toBeLessThan(other - 0.1);
    expect(nearest.tensors.get('output.weight')!.calibration).toMatchObject({
      ...{ rounding: 'nearest', damping: 0, condition: null },
    });
  });
});

describe.each([
  ['one layer', 'as it is', {}],
  ['one layer', 'columns by falling diagonal', { actOrder: true }],
  ['one layer', 'rounded to nearest', { rounding: 'nearest' }],
  ['one layer', 'without correction', { correction: 0 }],
  ['one layer', 'codebooks, searched under importance', { tensors: tensorsOf('one layer', 'IQ3_S') }],
  ['one layer', 'with recoded embeddings', { embedding: 'Q4_0' }],
  ['experts', 'as it is', {}],
  ['experts', 'codebooks, searched under importance', { tensors: tensorsOf('experts', 'IQ3_S') }],
] as const)('%s, %s', (kind, _name, options) => {
  it('gives the same bytes and figures at any number of threads, in memory and in files', () => {
    const one = coded(kind, 1, options);
    const spilled = coded(kind, 3, { ...options, tileBytes: 0, stateBytes: 0 });
    expect(spilled.hash).toBe(one.hash);
    expect(errorsOf(spilled)).toEqual(errorsOf(one));
    if (Object.keys(options).length > 0) expect(one.hash).not.toBe(plainly(kind).hash);
    else expect(one.hash).toBe(plainly(kind).hash);
  });
});

it('what is coded already changes nothing of the rest: a run that resumes', () => {
  const whole = plainly('dense');
  // The tensors of the first layer and q of the second as they were decoded: float32 of the codes.
  const done = (name: string) => name.startsWith('blk.0.') || name === 'blk.1.attn_q.weight';
  const model = {
    ...models.dense,
    tensors: models.dense.tensors.map((tensor) => {
      const type = tensorsOf('dense').find(({ name }) => name === tensor.name)?.type;
      if (!done(tensor.name) || type === undefined) return tensor;
      const values = new Float32Array(elementsOf(tensor.shape));
      decoders[type](whole.tensors.get(tensor.name)!.blocks, values);
      return { ...tensor, source: { kind: 'values', values } as const };
    }),
  };
  const tensors = tensorsOf('dense').filter(({ name }) => !done(name));
  const rest = coded('dense', 2, { coded: model, tensors });
  expect(rest.tensors.size).toBe(tensors.length);
  for (const [name, { blocks, calibration }] of rest.tensors) {
    expect(blocks).toEqual(whole.tensors.get(name)!.blocks);
    expect(calibration).toEqual(whole.tensors.get(name)!.calibration);
  }
});
