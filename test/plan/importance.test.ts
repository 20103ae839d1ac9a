import { describe, expect, it } from 'vitest';
import type { ImportanceEntry, ImportanceMatrix } from '../../src/core/importance.ts';
import type { EncoderName } from '../../src/core/plan.ts';
import {
  assignImportance,
  type ImportanceFilter,
  ImportanceLengthError,
  importanceKeys,
  NotFiniteImportanceError,
  selectImportance,
} from '../../src/plan/importance.ts';
import { type MixtureName, mixtures } from '../../src/plan/mixtures.ts';
import { chooseTypes, ImportanceRequiredError } from '../../src/plan/policy.ts';
import { type Network, tensorsOf } from '../support/networks.ts';

/** What is found wrong with a matrix before a run, and what is done about it. */

const dense: Network = { architecture: 'llama', layers: 1, heads: 8, kvHeads: 4, experts: 0, tied: false };
const moe: Network = { ...dense, experts: 3 };

const takes = (encoder: EncoderName): boolean => /^(Q[2-6]|IQ)/.test(encoder);

const ones = (length: number, counts: readonly number[] | null = [1000]): ImportanceEntry => ({
  values: new Float32Array(length).fill(1),
  counts,
});

type Entries = Record<string, ImportanceEntry>;

/** A sound matrix for every matrix that is coded. */
function sound(network: Network): Entries {
  return Object.fromEntries(
    tensorsOf(network)
      .filter(({ shape, keep }) => shape.length > 1 && keep !== 'F32')
      .map(({ name, shape: [width, , experts = 1] }) => [
        name,
        ones(width * experts, Array(experts).fill(1000)),
      ]),
  );
}

const matrixOf = (entries: Entries, over: Partial<ImportanceMatrix> = {}): ImportanceMatrix => ({
  path: 'imatrix.gguf',
  entries: new Map(Object.entries(entries)),
  datasets: ['text'],
  chunks: 5,
  ...over,
});

function assign(
  network: Network,
  name: MixtureName,
  change: (entries: Entries) => void = () => {},
  filter: ImportanceFilter = {},
) {
  const entries = sound(network);
  change(entries);
  const { selected, warnings } = selectImportance({ matrix: matrixOf(entries), takes }, filter);
  const model = tensorsOf(network);
  const { tensors } = chooseTypes(model, mixtures[name], network, { importance: true });
  const assigned = assignImportance(tensors, model, selected!, mixtures[name], (type) => type);
  return { ...assigned, warnings: [...warnings, ...assigned.warnings], entries };
}

describe('entries that are sound', () => {
  it('reach every tensor that follows importance, uncopied', () => {
    const { values, warnings, entries } = assign(dense, 'Q4_K_M');
    expect(warnings).toEqual([]);
    expect([...values.keys()].sort()).toEqual(Object.keys(entries).sort());
    for (const [name, given] of values) expect(given).toBe(entries[name].values);
  });

  it('go unused where the type ignores them', () => {
    const { values, warnings } = assign(dense, 'Q8_0');
    expect(values.size).toBe(0);
    expect(warnings).toEqual(['the importance matrix changes no tensor of this Q8_0 file']);
  });
});

describe('warnings, each with what is done', () => {
  const name = 'blk.0.ffn_down.weight';

  it('no entry', () => {
    const { values, warnings } = assign(dense, 'Q4_K_M', (entries) => delete entries[name]);
    expect(warnings).toEqual([`${name}: the importance matrix has no entry; it is coded without importance`]);
    expect(values.has(name)).toBe(false);
  });

  it('negative values count as 0', () => {
    const { values, warnings, entries } = assign(dense, 'Q4_K_M', (all) => {
      all[name].values.set([-2, -1], 7);
    });
    expect(warnings).toEqual([`${name}: 2 negative importances (-2 at column 7), taken as 0`]);
    expect([...values.get(name)!.subarray(6, 10)]).toEqual([1, 0, 0, 1]);
    expect(entries[name].values[7]).toBe(-2); // the file's stay as they are
    expect(values.get(name)!.buffer).toBeInstanceOf(SharedArrayBuffer);
  });

  it.each([
    ['Q4_0', 32, 32, true],
    ['Q4_0', 32, 31, false],
    ['Q5_K_S', 256, 256, true],
    ['Q5_K_S', 256, 32, false],
  ] as const)('%s: blocks of %i columns, %i of them zero', (type, block, zeros, replaced) => {
    const gate = 'blk.0.ffn_gate.weight';
    const wide = { ...dense, width: 512 };
    const { values, warnings } = assign(wide, type, (entries) =>
      entries[gate].values.fill(0, 256, 256 + zeros),
    );
    expect(values.get(gate)![256]).toBe(replaced ? 1 : 0);
    expect(warnings).toEqual(
      replaced
        ? [
            `${gate}: its importance is 0 in 1 of ${512 / block} blocks of ${block} columns (the first at ` +
              'column 256); the columns of such a block count the same',
          ]
        : [],
    );
  });

  it('negative values that leave a block without importance', () => {
    const { values, warnings } = assign(dense, 'Q4_K_M', (entries) => entries[name].values.fill(-1, 0, 256));
    expect(warnings).toHaveLength(2);
    expect([...values.get(name)!]).toEqual(Array(512).fill(1));
  });

  it('an input that was never seen', () => {
    const { warnings } = assign(dense, 'Q4_K_M', (entries) => {
      entries[name] = ones(512, [0]);
    });
    expect(warnings).toEqual([
      `${name}: the importance matrix saw no input of it; all columns count the same`,
    ]);
  });

  it('experts that saw few tokens; a .dat file does not say', () => {
    const experts = 'blk.0.ffn_down_exps.weight';
    const counted = (counts: number[] | null) =>
      assign(moe, 'Q4_K_M', (entries) => {
        entries[experts] = ones(3 * 512, counts);
      }).warnings;
    expect(counted([128, 1000, 5000])).toEqual([]);
    expect(counted([127, 1000, 5000])).toEqual([`${experts}: fewer than 128 tokens reached expert 0 (127)`]);
    expect(counted([127, 1000, 0])).toEqual([
      `${experts}: fewer than 128 tokens reached experts 0 (127), 2 (0); where it is 0, all columns count the same`,
    ]);
    expect(counted(null)).toEqual([]);
  });

  it('places of experts', () => {
    const experts = 'blk.0.ffn_down_exps.weight';
    const { warnings } = assign(moe, 'Q4_0', (entries) => {
      entries[experts].values.fill(0, 512 + 64, 512 + 96);
      entries[experts].values[1025] = -1;
    });
    expect(warnings).toEqual([
      `${experts}: 1 negative importance (-1 at column 1 of expert 2), taken as 0`,
      `${experts}: its importance is 0 in 1 of 48 blocks of 32 columns (the first at column 64 of expert 1); ` +
        'the columns of such a block count the same',
    ]);
  });

  it('entries of another model', () => {
    const { warnings } = assign(dense, 'Q4_K_M', (entries) => {
      for (const block of [7, 8, 9, 10]) entries[`blk.${block}.attn_q.weight`] = ones(256);
    });
    expect(warnings).toEqual([
      'no tensor of this model has the name of these entries of the importance matrix: ' +
        'blk.7.attn_q.weight, blk.8.attn_q.weight, blk.9.attn_q.weight and 1 more',
    ]);
  });
});

describe('refusals name every tensor', () => {
  const shorten = (entries: Entries, ...names: string[]) => {
    for (const name of names) entries[name] = ones(entries[name].values.length - 1);
  };

  it('wrong lengths', () => {
    const names = ['blk.0.attn_q.weight', 'output.weight'];
    const run = () => assign(dense, 'Q4_K_M', (entries) => shorten(entries, ...names));
    expect(run).toThrow(ImportanceLengthError);
    expect(run).toThrow(
      /2 tensors:\n {2}output\.weight: 255 .*\n {2}blk\.0\.attn_q\.weight: 255 values for 256/,
    );
  });

  it('experts of another number', () => {
    const run = () =>
      assign(moe, 'Q4_K_M', (entries) => {
        entries['blk.0.ffn_up_exps.weight'] = ones(256);
      });
    expect(run).toThrow(/ffn_up_exps\.weight: 256 values for 3 experts of 256 columns/);
  });

  it('token embeddings of a wrong length are a warning, unless their type needs importance', () => {
    const change = (entries: Entries) => shorten(entries, 'token_embd.weight');
    expect(assign(dense, 'IQ2_XXS', change).warnings).toEqual([
      'token_embd.weight: the importance matrix has 255 values for 256 columns; it is coded without importance',
    ]);
  });

  it.each(['IQ1_S', 'IQ1_M', 'IQ2_XXS', 'IQ2_XS', 'IQ2_S', 'IQ2_M', 'IQ3_XXS', 'IQ3_XS', 'Q2_K_S'] as const)(
    '%s without the entry of a tensor that needs it',
    (type) => {
      const network = { ...dense, layers: 8 };
      const query = 'blk.3.attn_q.weight';
      const run = () => assign(network, type, (entries) => delete entries[query]);
      expect(run).toThrow(ImportanceRequiredError);
      expect(run).toThrow(/for 1 tensor:\n {2}blk\.3\.attn_q\.weight \(/);
      // Embeddings and output need none.
      const exempt = (entries: Entries) => {
        delete entries['token_embd.weight'];
        delete entries['output.weight'];
      };
      expect(assign(network, type, exempt).warnings).toHaveLength(2);
    },
  );

  it('many, of which ten are named', () => {
    const run = () =>
      assign({ ...dense, layers: 4 }, 'Q4_K_M', (entries) => {
        for (const name of Object.keys(entries)) if (/^blk/.test(name)) shorten(entries, name);
      });
    expect(run).toThrow(/fit 28 tensors:(\n {2}blk.*){10}\n {2}and 18 more\n/);
  });

  it('values that are not finite', () => {
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      const run = () =>
        assign(moe, 'Q4_K_M', (entries) => entries['blk.0.ffn_up_exps.weight'].values.fill(value, 300, 301));
      expect(run).toThrow(NotFiniteImportanceError);
      expect(run).toThrow(`ffn_up_exps.weight: ${value} at column 44 of expert 1`);
    }
  });
});

describe('filters', () => {
  it('are parts of names', () => {
    const all = Object.keys(sound(dense));
    const kept = (filter: ImportanceFilter) =>
      [...assign(dense, 'Q4_K_M', () => {}, filter).values.keys()].sort();
    expect(kept({ includeWeights: ['attn_q', 'ffn_'] })).toEqual(
      all.filter((name) => /attn_q|ffn_/.test(name)).sort(),
    );
    expect(kept({ excludeWeights: ['attn_q', 'ffn_'] })).toEqual(
      all.filter((name) => !/attn_q|ffn_/.test(name)).sort(),
    );
    expect(kept({ excludeWeights: ['Attn.q'] })).toEqual(all.sort()); // neither letters of another case nor patterns
  });

  it('make no warning of what they leave out, but of what they do not meet', () => {
    const { warnings } = assign(dense, 'Q4_K_M', () => {}, { excludeWeights: ['ffn', 'fnn'] });
    expect(warnings).toEqual(['--exclude-weights fnn matches no entry of the importance matrix']);
  });
});

describe('keys of the output', () => {
  const keys = (over: Partial<ImportanceMatrix>) => {
    const matrix = matrixOf({ a: ones(1), b: ones(1) }, over);
    return importanceKeys({ matrix, entries: matrix.entries, takes }).map(({ key, value }) => [
      key.replace('quantize.imatrix.', ''),
      value,
    ]);
  };

  it('as llama-quantize orders them', () => {
    expect(keys({ datasets: ['a', 'b'] })).toEqual([
      ['file', 'imatrix.gguf'],
      ['dataset', 'a'],
      ['entries_count', 2],
      ['chunks_count', 5],
    ]);
    expect(keys({ datasets: [], chunks: 0 }).map(([key]) => key)).toEqual(['file', 'entries_count']);
    expect(keys({ chunks: -1 }).map(([key]) => key)).not.toContain('chunks_count');
  });

  it('texts end where a character ends', () => {
    expect(keys({ path: 'x'.repeat(128) })[0][1]).toBe('x'.repeat(127));
    expect(keys({ path: 'ü'.repeat(64) })[0][1]).toBe('ü'.repeat(63));
    expect(keys({ path: 'ü'.repeat(63) })[0][1]).toBe('ü'.repeat(63));
  });
});
