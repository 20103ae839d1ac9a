import { describe, expect, it } from 'vitest';
import { activationsName, bitsOf, highestCode, parseActivations } from '../../src/core/activations.ts';
import { UsageError } from '../../src/core/errors.ts';

describe('names of activation schemes', () => {
  it.each([
    ['none', 'none', 16],
    ['bitlinear', 'bitlinear', 8],
    ['dynamic', 'dynamic:8', 8],
    ['dynamic:4', 'dynamic:4', 4],
    ['dynamic:asymmetric:4', 'dynamic:4:asymmetric', 4],
    ['dynamic-block', 'dynamic-block:8', 8],
    ['static', 'static:8:mse', 8],
    ['static:entropy:symmetric', 'static:8:entropy', 8],
    ['static:4:asymmetric:percentile', 'static:4:asymmetric:percentile', 4],
  ])('%s', (text, name, bits) => {
    const scheme = parseActivations(text);
    expect(activationsName(scheme)).toBe(name);
    expect(parseActivations(name)).toEqual(scheme);
    expect(bitsOf(scheme)).toBe(bits);
  });

  it.each([
    '',
    'int8',
    'none:8',
    'dynamic:5',
    'dynamic:mse',
    'dynamic:8:8',
    'static:mse:entropy',
    'static:',
    'bitlinear:4',
  ])('refuses "%s"', (text) => {
    expect(() => parseActivations(text)).toThrow(UsageError);
  });

  it('have codes', () => {
    expect(highestCode({ bits: 8, symmetric: true })).toBe(127);
    expect(highestCode({ bits: 8, symmetric: false })).toBe(255);
    expect(highestCode({ bits: 4, symmetric: true })).toBe(7);
    expect(highestCode({ bits: 4, symmetric: false })).toBe(15);
  });
});
