import { createHash } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, test, vi } from 'vitest';
import { ForwardPass } from '../../src/calibrate/forward/forward.ts';
import { ForwardMetadataError, type ForwardModel } from '../../src/calibrate/forward/shape.ts';
import { NotFiniteActivationError, type Step } from '../../src/calibrate/forward/step.ts';
import { ForwardTensorError } from '../../src/calibrate/forward/tensors.ts';
import { collectImportance } from '../../src/calibrate/importance.ts';
import { MemoryBudgetError } from '../../src/compute/arena.ts';
import { ScratchFileError } from '../../src/compute/scratch-file.ts';
import type { Team } from '../../src/compute/team.ts';
import { UsageError } from '../../src/core/errors.ts';
import type { MetadataEntry } from '../../src/core/metadata.ts';
import { NotFiniteWeightError } from '../../src/core/weight-errors.ts';
import { sotu } from '../support/conversions.ts';
import {
  advance,
  eachInput,
  forwardModel,
  forwardPass,
  forwardTeam,
  logitsBehind,
  logitsOf,
} from '../support/forward.ts';
import { tinyMixtral } from '../support/mixtral.ts';
import { uniform } from '../support/random.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { tinyLlama } from '../support/tiny-llama.ts';

const teams = new Map<string, Team>();
/** Made once for all tests. */
const team = (threads: number, bytes?: number): Team => {
  const key = `${threads} ${bytes}`;
  const made = teams.get(key) ?? forwardTeam(threads, bytes);
  teams.set(key, made);
  return made;
};
afterAll(() => {
  for (const made of teams.values()) made.close();
});

const windowsOf = (count: number, context: number): Int32Array[] => {
  const random = uniform(1);
  return Array.from({ length: count }, () =>
    Int32Array.from({ length: context }, () => Math.floor(2048 * random())),
  );
};

/** What identifies rows of numbers to the bit. */
function digest(rows: readonly Float32Array[]): string {
  const hash = createHash('sha256');
  for (const row of rows) hash.update(row);
  return hash.digest('hex');
}

const dense = forwardModel(sotu);
let small: ForwardModel;
let experts: ForwardModel;
let crew: Team;
beforeAll(() => {
  small = forwardModel(tinyLlama(temporaryDirectory()));
  experts = forwardModel(tinyMixtral(temporaryDirectory()));
  crew = team(2);
});

/**
 * Goes through a model as a quantizer does: the matrices of a group become others before the next group is shown. Returns
 * sums of inputs, what identifies the logits, and how much was calculated.
 */
function quantizing(
  model: ForwardModel,
  windows: readonly Int32Array[],
  { change, stateBytes }: { change: boolean; stateBytes?: number },
) {
  const runs = vi.spyOn(crew, 'run');
  const pass = forwardPass(crew, model, windows, stateBytes);
  const inputs = new Map<string, Float64Array>();
  for (const step of pass.steps()) {
    for (const group of step.groups) {
      for (let round = 0; round < 2; round++) {
        const sums = new Float64Array(group.columns);
        eachInput(crew, step, group, ({ x, ldx, rows }) => {
          for (let row = 0; row < rows; row += 16) {
            const values = crew.scope.floats(x + 4 * row * ldx, group.columns);
            for (const [column, value] of values.entries()) sums[column] += value;
          }
        });
        const key = `${group.tensors[0]} ${group.expert}`;
        if (round === 1) expect(sums).toEqual(inputs.get(key));
        inputs.set(key, sums);
      }
      if (!change || step.title === 'router') continue;
      for (const name of group.tensors) {
        const { address, rows, columns } = step.weights.get(name)!;
        const weights = crew.scope.floats(address, rows * columns);
        for (const [i, weight] of weights.entries()) weights[i] = Math.round(16 * weight) / 16;
      }
    }
    step.advance();
  }
  const logits = digest(logitsBehind(pass));
  pass.close();
  const count = runs.mock.calls.length;
  runs.mockRestore();
  return { inputs, logits, runs: count };
}

describe.each(['dense', 'experts'] as const)('%s', (kind) => {
  const model = () => (kind === 'dense' ? small : experts);
  const windows = windowsOf(14, 150); // two slabs, and blocks of queries that are not full
  let logits: readonly Float32Array[];
  beforeAll(() => {
    logits = logitsOf(crew, model(), windows);
  });

  it('has the same logits at 1, 2 and 3 threads, with states in memory or in a file', () => {
    expect(logits).toHaveLength(14 * 150);
    const expected = digest(logits);
    for (const [threads, stateBytes] of [
      [1, 1 << 30],
      [3, 0],
      [2, kind === 'dense' ? 2_000_000 : 4_000_000], // the first slab only
    ]) {
      const other = threads === 2 ? crew : team(threads);
      expect(digest(logitsOf(other, model(), windows, stateBytes))).toBe(expected);
    }
  });

  it('a window does not see the others', () => {
    const alone = logitsOf(crew, model(), windows.slice(13, 14));
    expect(digest(alone)).toBe(digest(logits.slice(13 * 150, 14 * 150)));
  });

  it('a token does not see those that follow', () => {
    const [window] = windows;
    const altered = window.map((id, i) => (i < 70 ? id : (id + 1) % 2048));
    const [first, second] = [window, altered].map((each) => logitsOf(crew, model(), [each]));
    expect(digest(second.slice(0, 70))).toBe(digest(first.slice(0, 70)));
    expect(digest(second.slice(70, 71))).not.toBe(digest(first.slice(70, 71)));
  });

  it('has the same importance at any number of threads, and counts every token', () => {
    // Whose output is its embedding: that one is multiplied too.
    const model = () => (kind === 'dense' ? dense : experts);
    const pass = forwardPass(crew, model(), windows);
    const total = pass.stepCount;
    const seen: Step[] = [];
    const expected = collectImportance(pass, (step) => seen.push(step));
    pass.close();
    expect(seen).toHaveLength(total + 1);
    const single = team(1);
    const again = forwardPass(single, model(), windows);
    expect(collectImportance(again)).toEqual(expected);
    again.close();
    const rows = 14 * 150;
    for (const { name, sums, counts } of expected) {
      const { shape } = model().tensors.find((tensor) => tensor.name === name)!;
      expect([name, sums.length]).toEqual([name, shape[0] * (shape[2] ?? 1)]);
      const used = shape.length === 3 ? 2 : 1;
      expect([name, counts.reduce((sum, count) => sum + count, 0)]).toEqual([name, used * rows]);
      expect(sums.every((sum) => sum >= 0 && Number.isFinite(sum))).toBe(true);
    }
    const names = model()
      .tensors.filter(({ shape }) => shape.length > 1)
      .map(({ name }) => name);
    const hidden = kind === 'dense' ? [] : ['token_embd.weight']; // looked up, not multiplied
    expect(expected.map(({ name }) => name).toSorted()).toEqual(
      names.filter((name) => !hidden.includes(name)).toSorted(),
    );
  });

  it('shows inputs as often as asked, with the weights as they are', () => {
    const shown = model();
    const before = quantizing(shown, windows, { change: false });
    const after = quantizing(shown, windows, { change: true });
    expect(before.logits).toBe(digest(logits));
    expect([...after.inputs.keys()]).toEqual([...before.inputs.keys()]);
    const changed = [...after.inputs].filter(([key, sums]) => sums.join() !== before.inputs.get(key)!.join());
    expect(changed.length).toBe(after.inputs.size - 1); // all but the first group of all
    // Without room to keep inputs everything is calculated anew, with room for some of them some of it.
    const size = 4 * 256 * 14 * 150 * (kind === 'dense' ? 1 : 2);
    for (const stateBytes of [0, size + 2_100_000]) {
      const again = quantizing(shown, windows, { change: true, stateBytes });
      expect(again.logits).toBe(after.logits);
      expect(again.inputs).toEqual(after.inputs);
      expect(again.runs).toBeGreaterThan(after.runs);
    }
  });

  it('gives back what it took', () => {
    const mark = crew.arena.mark();
    const pass = forwardPass(crew, model(), windows.slice(0, 2));
    advance(pass);
    pass.output();
    pass.close();
    expect(crew.arena.mark()).toBe(mark);
  });
});

const withKey = (key: string, entry: Partial<MetadataEntry> | null): ForwardModel => ({
  ...dense,
  metadata: [
    ...dense.metadata.filter((other) => other.key !== key),
    ...(entry === null ? [] : [{ key, ...entry } as MetadataEntry]),
  ],
});

const run = (model: ForwardModel, windows = windowsOf(1, 8), other = crew) => {
  const mark = other.arena.mark();
  try {
    const pass = forwardPass(other, model, windows);
    advance(pass);
    pass.close();
  } finally {
    other.arena.release(mark);
  }
};

describe('what it refuses, it names', () => {
  test.each([
    [
      'general.architecture',
      { type: 'STRING', value: 'gemma2' },
      UsageError,
      /gemma2[\s\S]*llama, qwen2, qwen3/,
    ],
    ['general.architecture', null, UsageError, /none named/],
    ['llama.block_count', null, ForwardMetadataError, /llama\.block_count[\s\S]*no such key/],
    [
      'llama.attention.head_count',
      { type: 'STRING', value: 'four' },
      ForwardMetadataError,
      /head_count[\s\S]*four/,
    ],
    [
      'llama.attention.head_count_kv',
      { type: 'UINT32', value: 3 },
      ForwardMetadataError,
      /head_count_kv: a divisor of the 4 heads[\s\S]*3/,
    ],
    [
      'llama.rope.dimension_count',
      { type: 'UINT32', value: 32 },
      ForwardMetadataError,
      /dimension_count: 64[\s\S]*32/,
    ],
    ['llama.rope.scaling.type', { type: 'STRING', value: 'su' }, ForwardMetadataError, /scaling\.type/],
    ['llama.attention.causal', { type: 'BOOL', value: false }, ForwardMetadataError, /attention\.causal/],
    ['llama.expert_count', { type: 'UINT32', value: 4 }, ForwardMetadataError, /expert_used_count: 1 to 4/],
    [
      'llama.feed_forward_length',
      { type: 'UINT32', value: 512 },
      ForwardTensorError,
      /ffn_gate[\s\S]*\[256, 512\][\s\S]*\[256, 768\]/,
    ],
    ['llama.block_count', { type: 'UINT32', value: 5 }, ForwardTensorError, /blk\.4\.attn_norm\.weight/],
    ['llama.block_count', { type: 'UINT32', value: 3 }, ForwardTensorError, /does not know[\s\S]*blk\.3\./],
  ] as const)('%s %j', (key, entry, error, message) => {
    const model = withKey(key, entry as Partial<MetadataEntry> | null);
    expect(() => run(model)).toThrow(error);
    expect(() => run(model)).toThrow(message);
  });

  test('windows', () => {
    expect(() => run(dense, [])).toThrow(UsageError);
    expect(() => run(dense, [new Int32Array(4), new Int32Array(5)])).toThrow(/lengths 4, 5/);
    expect(() => run(dense, [Int32Array.of(1, 2048)])).toThrow(/ids below 2048[\s\S]*2048/);
  });

  const withValues = (name: string, act: (values: Float32Array) => void): ForwardModel => ({
    ...dense,
    tensors: dense.tensors.map((tensor) => {
      if (tensor.name !== name) return tensor;
      const values = new Float32Array(tensor.shape.reduce((product, extent) => product * extent, 1));
      act(values);
      return { ...tensor, source: { kind: 'values', values } };
    }),
  });

  test('a weight that is no number', () => {
    const model = withValues('blk.2.attn_v.weight', (values) => values.fill(Number.NaN, 300, 301));
    expect(() => run(model)).toThrow(NotFiniteWeightError);
    expect(() => run(model)).toThrow(/blk\.2\.attn_v\.weight[\s\S]*NaN at row 1, column 44/);
  });

  test('a layer that runs away', () => {
    const model = withValues('blk.1.ffn_up.weight', (values) => values.fill(3e38));
    expect(() => run(model)).toThrow(NotFiniteActivationError);
    expect(() => run(model)).toThrow(/in layer 1[\s\S]*blk\.1\.ffn_down\.weight/);
  });

  test('too little memory', () => {
    const small = team(1, 12 << 20);
    expect(() => run(dense, windowsOf(8, 256), small)).toThrow(MemoryBudgetError);
    expect(() => run(dense, windowsOf(8, 256), small)).toThrow(/--memory/);
  });

  test('a file that ends early', () => {
    const model = { ...dense, files: [{ path: `${sotu}/config.json` }] };
    expect(() => run(model)).toThrow(/ended early[\s\S]*config\.json[\s\S]*token_embd\.weight/);
    const absent = { ...dense, files: [{ path: `${sotu}/none` }] };
    expect(() => run(absent)).toThrow(/reading the weights failed[\s\S]*none/);
  });
});

test('a step has its turn once', () => {
  const pass = forwardPass(crew, dense, windowsOf(1, 8));
  const steps = pass.steps();
  const first = steps.next().value!;
  first.advance();
  expect(() => first.advance()).toThrow('attention of layer 0 was calculated twice');
  steps.next();
  expect(() => steps.next()).toThrow('feed-forward of layer 0 was left out');
  pass.close();
});

test('a scratch file has no name, and one that cannot be is an error', () => {
  const scratchDirectory = temporaryDirectory();
  const options = { team: crew, model: dense, windows: windowsOf(1, 8), stateBytes: 0, scratchDirectory };
  const pass = new ForwardPass(options);
  if (process.platform !== 'win32') expect(readdirSync(scratchDirectory)).toEqual([]);
  pass.close();
  expect(readdirSync(scratchDirectory)).toEqual([]);
  const nowhere = { ...options, scratchDirectory: join(scratchDirectory, 'missing') };
  expect(() => new ForwardPass(nowhere)).toThrow(ScratchFileError);
  new ForwardPass({ ...nowhere, stateBytes: 4 * 8 * 256 }).close(); // all states fit in memory
});
