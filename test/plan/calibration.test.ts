import { describe, expect, it } from 'vitest';
import { UsageError } from '../../src/core/errors.ts';
import type { MetadataEntry } from '../../src/core/metadata.ts';
import type { EncoderName } from '../../src/core/plan.ts';
import { dataTypes, type TypeName } from '../../src/core/types.ts';
import {
  assignStatistics,
  NoForwardPassError,
  NoTokenizerError,
  requireForwardPass,
  takesGptq,
} from '../../src/plan/calibration.ts';
import { type MixtureName, mixtures } from '../../src/plan/mixtures.ts';
import { chooseTypes, ImportanceRequiredError, type TypeOptions } from '../../src/plan/policy.ts';
import { resolveScheme } from '../../src/plan/presets.ts';
import { gridOf } from '../../src/quantize/gptq/grid.ts';
import { type Network, tensorsOf } from '../support/networks.ts';
import { checkpoint } from '../support/results.ts';

/** What GPTQ takes, what each tensor waits for, and which models it refuses. */

const dense: Network = { architecture: 'llama', layers: 2, heads: 8, kvHeads: 2, experts: 0, tied: false };
const takes = (encoder: EncoderName): boolean => /^(Q[2-6]_K|Q[45]_[01]|IQ)/.test(encoder);

function assign(network: Network, name: MixtureName, options: TypeOptions = {}) {
  const { tensors } = chooseTypes(tensorsOf(network), mixtures[name], network, {
    importance: true,
    ...options,
  });
  const { statistics, notes, warnings } = assignStatistics(tensors, mixtures[name], takes);
  const types = new Map(tensors.map(({ tensor, type }) => [tensor.name, type]));
  return { statistics, notes, warnings, types };
}

it('plans exactly the types that there is a grid for', () => {
  const types = Object.keys(dataTypes) as TypeName[];
  expect(types.filter(takesGptq)).toEqual(types.filter((type) => gridOf(type) !== undefined));
});

describe('the preset', () => {
  it.each([
    [2, 'Q2_K'],
    [3, 'Q3_K_M'],
    [4, 'Q4_K_M'],
    [5, 'Q5_K_M'],
    [6, 'Q6_K'],
    [8, 'Q8_0'],
    [undefined, 'Q4_K_M'],
  ])('%s bits: %s', (bits, name) => {
    const scheme = resolveScheme({ method: 'gptq', bits });
    expect([scheme.mixture.name, scheme.method]).toEqual([name, 'gptq']);
    expect(scheme.calibration).toEqual({ method: 'gptq', rounding: 'gptq' });
  });

  it('takes every mixture on whose grids codes are chosen one by one', () => {
    const taken = (Object.keys(mixtures) as MixtureName[]).filter((type) => {
      try {
        return resolveScheme({ method: 'gptq', type }).mixture.name === type;
      } catch (error) {
        expect(error).toBeInstanceOf(UsageError);
        return false;
      }
    });
    expect(taken.toSorted()).toEqual(
      [
        ...['Q4_0', 'Q4_1', 'Q5_0', 'Q5_1', 'Q8_0', 'IQ4_NL', 'IQ4_XS', 'TQ1_0', 'TQ2_0', 'IQ3_M'],
        ...['Q2_K', 'Q2_K_S', 'Q3_K_S', 'Q3_K_M', 'Q3_K_L', 'Q4_K_S', 'Q4_K_M', 'Q5_K_S', 'Q5_K_M', 'Q6_K'],
      ].toSorted(),
    );
  });

  it('says why it does not take a type of codebooks', () => {
    expect(() => resolveScheme({ method: 'gptq', type: 'IQ2_XS' })).toThrow(
      /gptq and --type IQ2_XS contradict[\s\S]*one weight at a time/,
    );
    expect(() => resolveScheme({ method: 'gptq', type: 'IQ3_M', pure: true })).toThrow(/--pure[\s\S]*IQ3_S/);
    expect(resolveScheme({ method: 'gptq', type: 'Q3_K_M', pure: true }).mixture.name).toBe('Q3_K_M');
  });

  it('rounds to nearest where asked, and is never the method of a type alone', () => {
    expect(resolveScheme({ method: 'gptq', rounding: 'nearest' }).calibration?.rounding).toBe('nearest');
    for (const type of Object.keys(mixtures)) {
      expect(resolveScheme({ type })).toMatchObject({ calibration: null });
      expect(resolveScheme({ type }).method).not.toBe('gptq');
    }
  });
});

describe('statistics', () => {
  it('the Hessian for every matrix of a block and the output, nothing for embeddings, norms and biases', () => {
    const { statistics, notes, warnings, types } = assign(dense, 'Q4_K_M');
    const matrices = [...types.keys()].filter((name) => /^(blk.*(attn|ffn)_\w+|output)\.weight$/.test(name));
    const expected = matrices.filter((name) => !name.includes('norm'));
    expect(expected).toHaveLength(2 * 7 + 1);
    expect([...statistics]).toEqual(expected.map((name) => [name, 'hessian']));
    expect([notes, warnings]).toEqual([[], []]);
  });

  it('stacked experts too, their router apart', () => {
    const { statistics } = assign({ ...dense, experts: 4 }, 'Q3_K_M');
    expect(statistics.get('blk.0.ffn_gate_exps.weight')).toBe('hessian');
    expect(statistics.has('blk.0.ffn_gate_inp.weight')).toBe(false);
  });

  it('the Hessian for an embedding that is also the output', () => {
    for (const type of ['Q4_K_M', 'Q8_0'] as const) {
      const { statistics } = assign({ ...dense, tied: true }, type);
      expect(statistics.get('token_embd.weight')).toBe('hessian');
    }
  });

  it('importance for types of codebooks in a mixture, and the plan says so', () => {
    const { statistics, types, notes } = assign(dense, 'IQ3_M');
    const searched = [...statistics].filter(([, kind]) => kind === 'importance').map(([name]) => name);
    expect(new Set(searched.map((name) => types.get(name)))).toEqual(new Set(['IQ3_S']));
    expect(statistics.get('blk.0.attn_output.weight')).toBe('hessian');
    expect(notes).toEqual([
      expect.stringContaining(
        `${searched.length} tensors of codebook types (IQ3_S) get an importance-weighted`,
      ),
    ]);
  });

  it('none for what stays a float, none for types that follow none, with a warning', () => {
    const kept = assign(dense, 'Q4_K_M', { tensorTypes: [{ pattern: 'attn_', type: 'F16' }] });
    expect([...kept.statistics.keys()].some((name) => name.includes('attn_'))).toBe(false);
    const { statistics, warnings } = assign(dense, 'Q4_K_M', {
      tensorTypes: [{ pattern: 'ffn_up', type: 'MXFP4' }],
    });
    expect(statistics.has('blk.0.ffn_up.weight')).toBe(false);
    expect(warnings).toEqual([
      '2 tensors are coded without calibration, as their types follow none: blk.0.ffn_up.weight (MXFP4), ' +
        'blk.1.ffn_up.weight (MXFP4)',
    ]);
    const more = assign(dense, 'Q4_K_M', { tensorTypes: [{ pattern: 'ffn_(up|gate)', type: 'MXFP4' }] });
    expect(more.warnings).toEqual([expect.stringMatching(/^4 tensors .*\.weight \(MXFP4\) and 1 more$/)]);
    const all = assign(dense, 'Q4_K_M', { tensorTypes: [{ pattern: '.', type: 'F16' }] });
    expect(all.warnings).toEqual(['GPTQ rounds no tensor of this file']);
  });

  it('refuses an embedding of a type that cannot do without importance', () => {
    const asked = () => assign(dense, 'Q4_K_M', { tokenEmbeddingType: 'IQ2_XS' });
    expect(asked).toThrow(ImportanceRequiredError);
    expect(asked).toThrow(/token_embd\.weight[\s\S]*only looked up/);
    expect(
      assign({ ...dense, tied: true }, 'Q4_K_M', { tokenEmbeddingType: 'IQ2_XS' }).statistics.get(
        'token_embd.weight',
      ),
    ).toBe('importance');
  });
});

describe('a model that cannot be run', () => {
  const runs = ['llama', 'qwen2'];
  const tokens: MetadataEntry = {
    key: 'tokenizer.ggml.tokens',
    type: 'ARRAY',
    elementType: 'STRING',
    value: ['a'],
  };
  it('is one with an architecture that is listed, and tokens', () => {
    expect(() => requireForwardPass(checkpoint(), dense, [tokens], runs)).not.toThrow();
  });

  it.each([
    ['safetensors', 'model', 'no config.json'],
    ['gguf', 'model', 'general.architecture'],
  ] as const)('%s of weights alone', (format, file, says) => {
    const refused = () => requireForwardPass(checkpoint({ format }), null, [tokens], runs);
    expect(refused).toThrow(NoForwardPassError);
    expect(refused).toThrow(says);
    expect(refused).toThrow(`file:     ${file}`);
  });

  it('of another architecture', () => {
    const refused = () =>
      requireForwardPass(checkpoint(), { ...dense, architecture: 'gemma3' }, [tokens], runs);
    expect(refused).toThrow(NoForwardPassError);
    expect(refused).toThrow(/llama, qwen2[\s\S]*gemma3/);
  });

  it.each([
    ['safetensors', /tokenizer\.json or tokenizer\.model/],
    ['gguf', /tokenizer\.ggml\.tokens in the metadata/],
  ] as const)('%s without a tokenizer', (format, says) => {
    for (const metadata of [[], [{ ...tokens, value: [] }]]) {
      const refused = () => requireForwardPass(checkpoint({ format }), dense, metadata, runs);
      expect(refused).toThrow(NoTokenizerError);
      expect(refused).toThrow(says);
    }
  });
});
