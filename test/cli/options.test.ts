import { InvalidArgumentError } from 'commander';
import { describe, expect, it } from 'vitest';
import {
  collect,
  decimal,
  parseChunkSize,
  parseGemm,
  parseMemory,
  parseTensorType,
  pipelineOptions,
  wholeNumber,
} from '../../src/cli/options.ts';
import { closest } from '../../src/core/suggest.ts';

describe('numbers', () => {
  it.each([
    [wholeNumber(1), '8', 8],
    [parseChunkSize, '65536', 65536],
    [parseGemm, 'wasm-relaxed', 'wasm-relaxed'],
    [parseGemm, 'blas:/usr/lib/libopenblas.so.0', 'blas:/usr/lib/libopenblas.so.0'],
    [parseMemory, '2G', 2 * 1024 ** 3],
    [parseMemory, '1.5g', 1.5 * 1024 ** 3],
    [parseMemory, '500MiB', 500 * 1024 ** 2],
    [parseMemory, '64K', 65536],
    [decimal(0), '1e-3', 0.001],
    [decimal(0), '.5', 0.5],
    [decimal(), '-3.5', -3.5],
  ])('%o reads %s', (parse, text, value) => {
    expect(parse(text)).toBe(value);
  });

  it.each([
    [wholeNumber(1), '0'],
    [wholeNumber(1), '-1'],
    [wholeNumber(1), '1.5'],
    [wholeNumber(1), '0x10'],
    [wholeNumber(1), ''],
    [wholeNumber(1), '99999999999999999999'],
    [parseChunkSize, '0'],
    [parseGemm, 'blas:'],
    [parseGemm, 'cublas'],
    [parseMemory, '2'],
    [parseMemory, '0G'],
    [parseMemory, '-1G'],
    [parseMemory, '2X'],
    [parseMemory, '99999999T'],
    [parseChunkSize, '40000'],
    [decimal(0), '-1'],
    [decimal(0), 'abc'],
    [decimal(0), ''],
    [decimal(0), '1e999'],
    [decimal(0), 'NaN'],
  ])('%o refuses "%s"', (parse, text) => {
    expect(() => parse(text)).toThrow(InvalidArgumentError);
  });
});

describe('--tensor-type', () => {
  it('repeats, and cuts at the last =', () => {
    const first = parseTensorType('ffn_down=Q6_K');
    expect(parseTensorType('a=b(?=c)=Q8_0', first)).toEqual([
      { pattern: 'ffn_down', type: 'Q6_K' },
      { pattern: 'a=b(?=c)', type: 'Q8_0' },
    ]);
  });

  it.each(['ffn_down', '=Q6_K', 'ffn_down=', '(=Q6_K'])('refuses %s', (text) => {
    expect(() => parseTensorType(text)).toThrow(InvalidArgumentError);
  });
});

it('repeatable texts add up', () => {
  expect(collect('b=c', collect('a'))).toEqual(['a', 'b=c']);
});

it('hands the pipeline its own options and nothing else', () => {
  const options = pipelineOptions('m', {
    output: 'o.gguf',
    type: 'Q4_K_M',
    pure: true,
    tensorType: [{ pattern: 'a', type: 'F16' }],
    imatrix: 'i.gguf',
    excludeWeights: ['ffn'],
    rounding: 'nearest',
    damp: 0.02,
    eval: 'e.txt',
    activations: ['none', 'dynamic', 'static:4', 'dynamic:8'],
    stats: 's.json',
    threads: 2,
    report: ['r.json'],
    json: true,
    quiet: true,
    verbose: true,
    dryRun: true,
    maxError: 1,
    minSqnr: 2,
  });
  expect(options).toEqual({
    input: 'm',
    output: 'o.gguf',
    type: 'Q4_K_M',
    pure: true,
    tensorTypes: [{ pattern: 'a', type: 'F16' }],
    imatrix: 'i.gguf',
    excludeWeights: ['ffn'],
    rounding: 'nearest',
    damp: 0.02,
    evalText: 'e.txt',
    activations: [
      { kind: 'dynamic', bits: 8, symmetric: true },
      { kind: 'static', bits: 4, symmetric: true, range: 'mse' },
    ],
    stats: 's.json',
    threads: 2,
  });
});

describe('closest', () => {
  it.each([
    ['inspcet', ['inspect', 'compare'], 'inspect'],
    ['Model.safetensor', ['model.safetensors', 'config.json'], 'model.safetensors'],
    ['ab', ['cd'], undefined],
    ['xyz.bin', ['config.json'], undefined],
    ['', ['a'], 'a'],
  ])('%s among %j', (word, candidates, expected) => {
    expect(closest(word, candidates)).toBe(expected);
  });
});
