import { describe, expect, it } from 'vitest';
import { UsageError } from '../../src/core/errors.ts';
import { bulkOf, mixtures, parseMixture, parseTensorType } from '../../src/plan/mixtures.ts';
import { chooseTypes } from '../../src/plan/policy.ts';
import { methods, resolveScheme, type SchemeOptions } from '../../src/plan/presets.ts';
import { tensorsOf } from '../support/networks.ts';

describe('presets', () => {
  it.each([
    ['absmax', 8, 'Q8_0'],
    ['absmax', 5, 'Q5_0'],
    ['absmax', 4, 'Q4_0'],
    ['zero-point', 5, 'Q5_1'],
    ['zero-point', 4, 'Q4_1'],
    ['zero-point', 8, 'I8'],
    ['zero-point', 2, 'Q2_K'],
    ['kquant', 2, 'Q2_K'],
    ['kquant', 3, 'Q3_K_M'],
    ['kquant', 4, 'Q4_K_M'],
    ['kquant', 5, 'Q5_K_M'],
    ['kquant', 6, 'Q6_K'],
    ['kquant', 8, 'Q8_0'],
    ['ternary', undefined, 'TQ2_0'],
    ['binary', undefined, 'Q1_0'],
    [undefined, 3, 'Q3_K_M'],
  ])('%s, %s bits: %s', (method, bits, name) => {
    const scheme = resolveScheme({ method, bits });
    expect(scheme.mixture.name).toBe(name);
    expect(scheme.method).toBe(method ?? 'kquant');
    expect(scheme.notes).toEqual([]);
  });

  it('code as ggml does, except ternary and zero-point of 2 and 8 bits', () => {
    for (const method of methods) {
      const scheme = resolveScheme({ method });
      expect(scheme.encoderFor('Q6_K')).toBe('Q6_K');
      expect(scheme.encoderFor('TQ2_0')).toBe(method === 'ternary' ? 'TQ2_0:range' : 'TQ2_0');
      expect(scheme.encoderFor('TQ1_0')).toBe(method === 'ternary' ? 'TQ1_0:range' : 'TQ1_0');
    }
    expect(resolveScheme({ type: 'TQ2_0' }).encoderFor('TQ2_0')).toBe('TQ2_0');
    expect(resolveScheme({ method: 'zero-point', bits: 2 }).encoderFor('Q2_K')).toBe('Q2_K:range');
    expect(resolveScheme({ type: 'Q2_K' }).encoderFor('Q2_K')).toBe('Q2_K');
    expect(resolveScheme({ method: 'zero-point', bits: 8 }).encoderFor('I8')).toBe('I8:zero-point');
  });

  it('only 8-bit zero-point cannot be run', () => {
    expect(resolveScheme({ method: 'zero-point', bits: 8 }).runnable).toMatchObject({
      yes: false,
      reason: expect.stringContaining('no GGUF block type'),
    });
    expect(resolveScheme({ method: 'zero-point', bits: 4 }).runnable).toEqual({ yes: true });
  });

  it('8-bit zero-point takes every matrix, whatever its rows', () => {
    const network = {
      architecture: 'llama',
      layers: 1,
      heads: 8,
      kvHeads: 4,
      experts: 0,
      tied: false,
      inner: 100,
    };
    const { mixture } = resolveScheme({ method: 'zero-point', bits: 8 });
    expect(mixture.fileType).toBeNull();
    const { tensors, warnings } = chooseTypes(tensorsOf(network), mixture, network);
    const types = new Map(tensors.map(({ tensor, type }) => [tensor.name, type]));
    expect(
      ['output.weight', 'token_embd.weight', 'blk.0.ffn_down.weight'].map((name) => types.get(name)),
    ).toEqual([...['I8', 'I8', 'I8']]);
    expect(types.get('output_norm.weight')).toBe('F32');
    expect(warnings).toEqual([]);
  });

  it('without anything: Q4_K_M, and it says so', () => {
    const scheme = resolveScheme({});
    expect(scheme).toMatchObject({ mixture: mixtures.Q4_K_M, method: 'kquant' });
    expect(scheme.notes).toEqual(['no --type or --bits was given: Q4_K_M (method kquant)']);
    expect(resolveScheme({ method: 'absmax' }).notes).toEqual(['no --type or --bits was given: Q4_0']);
  });

  it('a type wins over bits', () => {
    const scheme = resolveScheme({ type: 'q5_k_s', bits: 8 });
    expect(scheme).toMatchObject({ mixture: mixtures.Q5_K_S, method: 'kquant' });
    expect(scheme.notes).toEqual(['--type Q5_K_S wins over --bits 8']);
    expect(resolveScheme({ method: 'ternary', type: 'TQ1_0' }).encoderFor('TQ1_0')).toBe('TQ1_0:range');
  });

  it('a type alone has the method that codes it so', () => {
    const method = (type: string) => resolveScheme({ type }).method;
    expect(['Q8_0', 'Q4_1', 'Q4_K_M', 'TQ2_0', 'Q1_0', 'BF16', 'IQ4_XS'].map(method)).toEqual([
      ...['absmax', 'zero-point', 'kquant', 'absmax', 'binary', 'none', 'ggml'],
    ]);
  });

  const refused: [SchemeOptions, RegExp][] = [
    [{ method: 'ternary', type: 'Q4_K' }, /ternary and --type Q4_K_M contradict[\s\S]*TQ1_0 or TQ2_0/],
    [{ method: 'binary', type: 'Q8_0' }, /contradict/],
    [{ method: 'absmax', type: 'Q4_1' }, /contradict[\s\S]*Q4_0 or Q5_0 or Q8_0/],
    [{ method: 'kquant', type: 'F16' }, /contradict/],
    [{ method: 'kquant', bits: 7 }, /no --bits 7[\s\S]*2 \(Q2_K\), 3 \(Q3_K_M\), 4 \(Q4_K_M\)/],
    [{ bits: 16 }, /no --bits 16/],
    [{ method: 'absmax', bits: 3 }, /4 \(Q4_0\), 5 \(Q5_0\), 8 \(Q8_0\)/],
    [{ method: 'zero-point', bits: 3 }, /2 \(Q2_K\), 4 \(Q4_1\)[\s\S]*no type that llama.cpp runs/],
    [{ method: 'ternary', bits: 2 }, /no --bits: ternary is TQ2_0/],
    [{ method: 'k-quants' }, /no method is named[\s\S]*did you mean kquant/],
    [{ method: '' }, /no method is named/],
    [{ type: 'Q4KM' }, /no type is named "Q4KM"[\s\S]*did you mean Q4_K_M/],
  ];
  it.each(refused)('%o is refused', (options, message) => {
    expect(() => resolveScheme(options)).toThrow(UsageError);
    expect(() => resolveScheme(options)).toThrow(message);
  });
});

describe('names of types', () => {
  it('in any case, by alias, by number', () => {
    expect(['q4_k_m', 'Q4_K', '15', ' 0 ', 'bf16', '40'].map((text) => parseMixture(text).name)).toEqual([
      ...['Q4_K_M', 'Q4_K_M', 'Q4_K_M', 'F32', 'BF16', 'Q1_0'],
    ]);
  });

  it.each(['4', '33', '1024', '15x', '-1', '', 'constructor', '__proto__'])('"%s" is none', (text) => {
    expect(() => parseMixture(text)).toThrow(UsageError);
    expect(() => parseTensorType(text, '--output-tensor-type')).toThrow(UsageError);
  });

  it('without a suggestion where none is near', () => {
    const refused = (type: string) => {
      try {
        return parseMixture(type, (base) => base !== 'IQ1_S').name;
      } catch (error) {
        return (error as UsageError).details;
      }
    };
    expect(refused('')).toMatchObject({ advice: undefined });
    expect(refused('foo')).toMatchObject({ advice: undefined, expected: expect.stringContaining('IQ1_M') });
    expect(refused('foo')).not.toMatchObject({ expected: expect.stringContaining('IQ1_S') });
    expect(() => resolveScheme({ method: 'foo' })).not.toThrow(/did you mean/);
  });

  it('mixtures of unknown models are their base types', () => {
    expect(
      (['Q4_K_M', 'Q3_K_L', 'Q8_0', 'IQ3_M', 'IQ2_M', 'F16'] as const).map((name) => bulkOf(mixtures[name])),
    ).toEqual([
      { name: 'Q4_K', fileType: 14, base: 'Q4_K' },
      { name: 'Q3_K', fileType: 11, base: 'Q3_K' },
      mixtures.Q8_0,
      { name: 'IQ3_S', fileType: 26, base: 'IQ3_S' },
      { name: 'IQ2_S', fileType: 29, base: 'IQ2_S' },
      mixtures.F16,
    ]);
  });

  it('of single tensors', () => {
    expect(parseTensorType('q6_k', '--tensor-type')).toBe('Q6_K');
    expect(parseTensorType('NVFP4', '--tensor-type')).toBe('NVFP4');
    expect(() => parseTensorType('Q4_K_M', '--tensor-type')).toThrow(
      /mixture of types; its base type is Q4_K/,
    );
    expect(() => parseTensorType('I32', '--tensor-type')).toThrow(/--tensor-type: no tensor type is named/);
    expect(() => parseTensorType('fp16', '--tensor-type')).toThrow(/did you mean F16/);
  });
});
