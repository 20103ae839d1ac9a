import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { UsageError } from '../../src/core/errors.ts';
import type { MappedTensor } from '../../src/core/model.ts';
import { NoFallbackError } from '../../src/plan/fallback.ts';
import { mixtures } from '../../src/plan/mixtures.ts';
import {
  chooseTypes,
  ImportanceRequiredError,
  RowLengthError,
  type TypeOptions,
} from '../../src/plan/policy.ts';
import { blockOf, quantizeOrder } from '../../src/plan/tensor-roles.ts';
import { type Network, tensorsOf } from '../support/networks.ts';

const dense: Network = { architecture: 'llama', layers: 4, heads: 8, kvHeads: 4, experts: 0, tied: true };

const choose = (network: Network, name: keyof typeof mixtures, options: TypeOptions = {}) => {
  const { tensors, warnings } = chooseTypes(tensorsOf(network), mixtures[name], network, options);
  return { warnings, byName: new Map(tensors.map((typed) => [typed.tensor.name, typed])) };
};

const tensor = (name: string, shape: readonly number[], keep: MappedTensor['keep']): MappedTensor => ({
  name,
  shape,
  keep,
  source: { kind: 'values', values: [] },
});

describe('reasons', () => {
  const { byName, warnings } = choose(dense, 'Q4_K_M');
  it.each([
    ['token_embd.weight', 'Q6_K', 'mixture Q4_K_M: token_embd, tied with the output'],
    ['blk.0.attn_v.weight', 'Q4_K', 'mixture Q4_K_M'],
    ['blk.3.attn_v.weight', 'Q6_K', 'mixture Q4_K_M: attn_v, layer 3 of 4'],
    ['blk.0.attn_norm.weight', 'F32', 'kept: one-dimensional'],
  ])('%s', (name, type, reason) => {
    expect(byName.get(name)).toMatchObject({ type, reason });
    expect(byName.get(name)).not.toHaveProperty('fallbackFrom');
  });

  it('nothing to warn of', () => {
    expect(warnings).toEqual([]);
  });

  it('of options', () => {
    const { byName: chosen } = choose({ ...dense, tied: false }, 'Q8_0', {
      leaveOutputTensor: true,
      tokenEmbeddingType: 'F16',
      tensorTypes: [{ pattern: 'attn_[qk]', type: 'Q4_0' }],
    });
    expect(chosen.get('output.weight')).toMatchObject({
      type: 'BF16',
      reason: 'kept: --leave-output-tensor',
    });
    expect(chosen.get('token_embd.weight')).toMatchObject({ type: 'F16', reason: '--token-embedding-type' });
    expect(chosen.get('blk.1.attn_k.weight')).toMatchObject({
      type: 'Q4_0',
      reason: '--tensor-type attn_[qk]',
    });
    expect(chosen.get('blk.1.attn_v.weight')).toMatchObject({ type: 'Q8_0', reason: 'type Q8_0' });
  });
});

describe('fallbacks', () => {
  it('are named, with what they cost', () => {
    const { byName, warnings } = choose({ ...dense, width: 128, inner: 512 }, 'Q4_K_M');
    expect(byName.get('blk.0.attn_q.weight')).toMatchObject({ type: 'Q5_0', fallbackFrom: 'Q4_K' });
    expect(byName.get('blk.3.attn_v.weight')).toMatchObject({ type: 'Q8_0', fallbackFrom: 'Q6_K' });
    expect(byName.get('blk.0.ffn_down.weight')).not.toHaveProperty('fallbackFrom');
    // llama-quantize looks at the base type here; what is lost is still Q6_K.
    expect(byName.get('token_embd.weight')).toMatchObject({ type: 'Q8_0', fallbackFrom: 'Q6_K' });
    expect(warnings).toEqual([
      'rows of 128 do not divide into Q6_K blocks of 256: 3 tensors (token_embd.weight, ...) get Q8_0, ' +
        '+1.94 bits per weight (+19.4 KiB)',
      'rows of 128 do not divide into Q4_K blocks of 256: 22 tensors (blk.0.attn_k.weight, ...) get Q5_0, ' +
        '+1.00 bits per weight (+86.0 KiB)',
    ]);
  });

  it('F16 where nothing else fits', () => {
    const { byName, warnings } = choose({ ...dense, layers: 1, width: 256, inner: 100 }, 'Q4_0');
    expect(byName.get('blk.0.ffn_down.weight')).toMatchObject({ type: 'F16', fallbackFrom: 'Q4_0' });
    expect(warnings).toEqual([
      'rows of 100 do not divide into Q4_0 blocks of 32: blk.0.ffn_down.weight gets F16, ' +
        '+11.50 bits per weight (+35.9 KiB)',
    ]);
  });

  it('none for Q1_0', () => {
    expect(() => choose({ ...dense, inner: 320 }, 'Q1_0')).toThrow(NoFallbackError);
    expect(() => choose({ ...dense, inner: 320 }, 'Q1_0')).toThrow(
      /blk\.0\.ffn_down\.weight[\s\S]*128[\s\S]*320/,
    );
  });

  it('none for NVFP4', () => {
    const tensorTypes = [{ pattern: 'ffn_down', type: 'NVFP4' }] as const;
    expect(() => choose({ ...dense, inner: 352 }, 'Q8_0', { tensorTypes })).toThrow(NoFallbackError);
  });

  it('none for the options that name one tensor', () => {
    const narrow = { ...dense, width: 128 };
    expect(() => choose(narrow, 'Q8_0', { tokenEmbeddingType: 'Q4_K' })).toThrow(RowLengthError);
    expect(() => choose({ ...narrow, tied: false }, 'Q8_0', { outputTensorType: 'Q4_K' })).toThrow(
      /--output-tensor-type Q4_K[\s\S]*output\.weight/,
    );
    expect(
      choose(narrow, 'Q8_0', { outputTensorType: 'Q4_K' }).byName.get('token_embd.weight'),
    ).toMatchObject({
      type: 'Q5_0',
      fallbackFrom: 'Q4_K',
    });
  });
});

describe('importance', () => {
  it('is asked for by tensor', () => {
    expect(() => choose(dense, 'IQ2_XXS')).toThrow(ImportanceRequiredError);
    expect(() => choose(dense, 'Q2_K_S')).toThrow(
      /blk\.0\.attn_k\.weight[\s\S]*quantize imatrix[\s\S]*--method gptq/,
    );
    expect(choose(dense, 'IQ2_XXS', { importance: true }).byName.get('blk.0.attn_q.weight')!.type).toBe(
      'IQ2_XXS',
    );
    expect(choose(dense, 'Q2_K').byName.get('blk.0.attn_q.weight')!.type).toBe('Q2_K');
  });

  it('also for embeddings of a type that ggml cannot code without', () => {
    expect(() => choose(dense, 'Q8_0', { tokenEmbeddingType: 'IQ2_XS' })).toThrow(ImportanceRequiredError);
    expect(choose(dense, 'Q8_0', { tokenEmbeddingType: 'IQ2_S' }).warnings).toEqual([]);
  });
});

describe('options that decide nothing are told', () => {
  it('all four', () => {
    const { warnings } = choose(dense, 'Q4_0', {
      pure: true,
      leaveOutputTensor: true,
      outputTensorType: 'Q8_0',
      tensorTypes: [
        { pattern: 'attn', type: 'Q8_0' },
        { pattern: 'attn_v', type: 'Q6_K' },
        { pattern: 'norm', type: 'F16' },
      ],
    });
    expect(warnings).toEqual([
      '--tensor-type attn_v=Q6_K decides the type of no tensor',
      '--tensor-type norm=F16 decides the type of no tensor',
      '--output-tensor-type Q8_0 decides the type of no tensor',
      '--leave-output-tensor decides the type of no tensor',
    ]);
  });

  it('a pattern that another option overrules', () => {
    const tensorTypes = [{ pattern: 'token_embd', type: 'Q8_0' }] as const;
    expect(choose(dense, 'Q4_0', { tokenEmbeddingType: 'Q4_1', tensorTypes }).warnings).toHaveLength(1);
  });
});

describe('patterns', () => {
  const withPattern = (pattern: string) => () =>
    choose(dense, 'Q4_0', { tensorTypes: [{ pattern, type: 'Q8_0' }] }).byName.get('blk.1.attn_q.weight')!
      .type;

  it('match in either case, anywhere in the name', () => {
    expect(withPattern('ATTN_Q')()).toBe('Q8_0');
    expect(withPattern('1[.]attn')()).toBe('Q8_0');
    expect(withPattern('^attn')()).toBe('Q4_0');
  });

  it('must be regular expressions', () => {
    expect(withPattern('blk.(0')).toThrow(UsageError);
    expect(withPattern('blk.[[:digit:]]')).toThrow(/POSIX/);
  });
});

describe('float types', () => {
  const tensors = [
    tensor('token_embd.weight', [256, 64], 'BF16'),
    tensor('blk.0.ffn_gate_inp.weight', [256, 8], 'F32'),
    tensor('blk.0.attn_q.weight', [256, 256], 'BF16'),
    tensor('blk.0.attn_rel_b.weight', [32, 8], 'F16'),
    tensor('blk.0.attn_norm.weight', [256], 'F32'),
    tensor('blk.0.table', [256, 2], 'I32'),
  ];
  const types = (name: keyof typeof mixtures, options?: TypeOptions) =>
    chooseTypes(tensors, mixtures[name], dense, options).tensors.map(({ tensor: { name: n }, type }) => [
      n,
      type,
    ]);

  it('replace what the converter does not keep as float32, in its order', () => {
    expect(types('F16')).toEqual([
      ['token_embd.weight', 'F16'],
      ['blk.0.ffn_gate_inp.weight', 'F32'],
      ['blk.0.attn_q.weight', 'F16'],
      ['blk.0.attn_rel_b.weight', 'F16'],
      ['blk.0.attn_norm.weight', 'F32'],
      ['blk.0.table', 'I32'],
    ]);
    expect(new Set(types('F32').map(([, type]) => type))).toEqual(new Set(['F32', 'I32']));
  });

  it('take options too', () => {
    const options = {
      tokenEmbeddingType: 'Q8_0',
      tensorTypes: [{ pattern: 'attn_q', type: 'Q4_K' }],
    } as const;
    expect(types('BF16', options).map(([, type]) => type)).toEqual([
      'Q8_0',
      'F32',
      'Q4_K',
      'BF16',
      'F32',
      'I32',
    ]);
  });
});

describe('weights of no known architecture', () => {
  const tensors = [
    tensor('conv1.weight', [3, 3, 16, 32], 'F32'),
    tensor('encoder.norm', [512, 2], 'F32'),
    tensor('head.bias', [512], 'F16'),
    tensor('column', [512, 1], 'F32'),
    tensor('ids', [512, 4], 'I64'),
    tensor('fc', [96, 4], 'BF16'),
  ];
  const types = (name: keyof typeof mixtures) =>
    chooseTypes(tensors, mixtures[name], null).tensors.map(({ type }) => type);

  it('every matrix gets the base type, the rest stays', () => {
    expect(types('Q4_K_M')).toEqual(['F16', 'Q4_K', 'F16', 'F32', 'I64', 'Q5_0']);
    expect(types('Q8_0')).toEqual(['F16', 'Q8_0', 'F16', 'F32', 'I64', 'Q8_0']);
    expect(types('BF16')).toEqual(['BF16', 'BF16', 'F16', 'F32', 'I64', 'BF16']);
    expect(() => types('Q1_0')).toThrow(/conv1\.weight/);
  });
});

describe('order', () => {
  it('is by block number, then by bytes', () => {
    const sorted = [
      'a',
      'b\u{ffff}',
      'b\u{10000}',
      'output.weight',
      'blk.0.a',
      'blk.2.b',
      'blk.10.a',
      'blk.10.b',
    ];
    expect(quantizeOrder([...sorted].reverse())).toEqual(sorted);
  });

  it('reads block numbers as C does', () => {
    expect(['blk.12.x', 'blk.7', 'blk. +3.x', 'blk.-1.x', 'blk.x', 'a.blk.1.x'].map(blockOf)).toEqual([
      ...[12, 7, 3, -1, null, null],
    ]);
  });
});

interface Golden {
  readonly kv: readonly { readonly key: string; readonly value?: unknown }[];
  readonly tensors: readonly { name: string; shape: number[]; type: MappedTensor['keep'] }[];
}

for (const name of ['llama_256', 'mixtral_256']) {
  const directory = new URL(`../../../shared/golden/visible/${name}/`, import.meta.url);
  describe.skipIf(!existsSync(directory))(`golden files of llama-quantize: ${name}`, () => {
    const read = (file: string) => JSON.parse(readFileSync(new URL(file, directory), 'utf8'));
    it('same types in the same order', () => {
      const converted: Golden = read('golden-bf16.json');
      const value = (key: string) => converted.kv.find((entry) => entry.key === `llama.${key}`)?.value;
      const model = {
        architecture: 'llama',
        layers: Number(value('block_count')),
        heads: Number(value('attention.head_count')),
        kvHeads: Number(value('attention.head_count_kv')),
        experts: Number(value('expert_count') ?? 0),
      };
      const tensors = converted.tensors.map(({ name: n, shape, type }) => tensor(n, shape, type));
      const quantized: Record<string, Golden> = read('golden-quant.json').types;
      expect(Object.keys(quantized)).toHaveLength(8);
      for (const [type, golden] of Object.entries(quantized)) {
        const ours = chooseTypes(tensors, mixtures[type as keyof typeof mixtures], model);
        expect(ours.tensors.map((typed) => [typed.tensor.name, typed.type])).toEqual(
          golden.tensors.map((each) => [each.name, each.type]),
        );
      }
    });
  });
}
