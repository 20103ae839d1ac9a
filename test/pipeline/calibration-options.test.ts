import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { UsageError } from '../../src/core/errors.ts';
import { planQuantization, type QuantizeOptions } from '../../src/pipeline.ts';
import { NoForwardPassError } from '../../src/plan/calibration.ts';
import { FileMissingError } from '../../src/read/byte-source.ts';
import { bundledModel } from '../support/cli.ts';
import { imatrixBytes } from '../support/imatrix-writer.ts';
import { floatTensor, safetensorsBytes } from '../support/safetensors-writer.ts';
import { put, temporaryDirectory } from '../support/temporary.ts';

/** Options of calibration: what they may stand beside, and the plan they lead to. */

const directory = temporaryDirectory();
const text = join(directory, 'text.txt');
writeFileSync(text, 'words');
const ones = (n: number) => new Float32Array(n).fill(1);
const imatrix = put(
  directory,
  'imatrix.gguf',
  imatrixBytes(
    planQuantization({ input: bundledModel, type: 'F32' }).plan.tensors.flatMap(({ name, shape }) =>
      shape.length === 2 ? [{ name, sums: ones(shape[0]), counts: [1] }] : [],
    ),
  ),
);
const plan = (options: Partial<QuantizeOptions>) => planQuantization({ input: bundledModel, ...options });

describe('contradictions', () => {
  it.each<[Partial<QuantizeOptions>, RegExp]>([
    [{ method: 'gptq', imatrix: 'none.gguf' }, /--imatrix and --method gptq[\s\S]*kquant/],
    [{ method: 'gptq', split: { part: 1, of: 2 } }, /--split K\/N and --method gptq[\s\S]*blocks before/],
    [{ method: 'gptq', rounding: 'nearest', actOrder: true }, /--act-order and --rounding nearest/],
    [{ calibration: [text] }, /--calibration is about calibration[\s\S]*--method gptq/],
    [{ method: 'kquant', calibrationTokens: 5 }, /--calibration-tokens/],
    [{ calibrationField: 'text' }, /--calibration-field/],
    [{ seed: 1 }, /--seed/],
    [{ damp: 0.1 }, /--damp/],
    [{ correction: 0 }, /--correction/],
    [{ actOrder: true }, /--act-order/],
    [{ rounding: 'nearest' }, /--rounding/],
    [{ context: 64 }, /--context/],
    [{ memory: 1 << 30 }, /--memory/],
    [{ gemm: 'wasm' }, /--gemm/],
    [{ method: 'gptq', damp: 1.5 }, /--damp is out of range[\s\S]*0 to 1/],
    [{ method: 'gptq', damp: Number.NaN }, /--damp is out of range/],
    [{ method: 'gptq', correction: 1.01 }, /--correction is out of range[\s\S]*0 to 1/],
    [{ method: 'gptq', context: 1 }, /--context is out of range/],
    [{ method: 'gptq', seed: 2 ** 32 }, /--seed is out of range/],
    [{ method: 'gptq', calibrationTokens: 0.5 }, /--calibration-tokens is out of range/],
    [{ method: 'gptq', memory: 0 }, /--memory is out of range/],
    [{ method: 'gptq', type: 'IQ1_S' }, /gptq and --type IQ1_S/],
    [{ method: 'gptq', type: 'COPY' }, /COPY/],
    [{ method: 'gptqq' }, /did you mean gptq/],
  ])('%o', (options, message) => {
    expect(() => plan(options)).toThrow(UsageError);
    expect(() => plan(options)).toThrow(message);
  });

  it('an evaluation runs the model too', () => {
    const options = { context: 64, memory: 1 << 30, gemm: 'wasm', evalText: text } as const;
    expect(() => plan(options)).not.toThrow();
    expect(() => plan({ ...options, seed: 1 })).toThrow(/--seed is about calibration/);
    const activations = [{ kind: 'bitlinear' }] as const;
    expect(() => plan({ activations })).toThrow(/--eval TEXT with --activations/);
    expect(() => plan({ ...options, stats: text })).toThrow(/--activations static with --stats/);
    const none = { ...options, activations, stats: text };
    expect(() => plan(none)).toThrow(/--activations static with --stats/);
  });

  it('a text that is not there is named before anything is read', () => {
    for (const options of [{ method: 'gptq', calibration: [text, 'no.txt'] }, { evalText: 'no.txt' }]) {
      expect(() => plan({ ...options, input: 'no model' })).toThrow(FileMissingError);
      expect(() => plan({ ...options, input: 'no model' })).toThrow('no.txt');
    }
  });
});

describe('the plan of a method that calibrates', () => {
  it.each(['Q2_K', 'Q3_K_M', 'Q4_K_M', 'IQ3_M', 'IQ4_XS', 'TQ2_0', 'Q4_0'])(
    '%s has the types and the size of the same mixture under importance',
    (type) => {
      const ours = plan({ method: 'gptq', type });
      const theirs = plan({ type, imatrix });
      expect(ours.plan.tensors.map(({ name, type }) => [name, type])).toEqual(
        theirs.plan.tensors.map(({ name, type }) => [name, type]),
      );
      const bytes = ({ layout }: typeof ours) => layout.fileBytes - layout.files[0].header.length;
      expect(bytes(ours)).toBe(bytes(theirs));
      expect(ours.plan.calibration).toEqual({ method: 'gptq', rounding: 'gptq' });
      expect(theirs.plan.calibration).toBeNull();
      const waits = new Map(ours.plan.tensors.map(({ name, calibrated }) => [name, calibrated]));
      if (type !== 'IQ3_M') expect(waits.get('blk.0.ffn_down.weight')).toBe('hessian');
      expect(waits.get('blk.0.attn_norm.weight')).toBeUndefined();
      if (type !== 'TQ2_0') expect(waits.get('token_embd.weight')).toBe('hessian'); // tied, so rounded as the output
    },
  );

  it('reads the text as an input, which the output may not replace', () => {
    expect(plan({ method: 'gptq', calibration: [text], evalText: text }).inputs).toContain(text);
  });

  it('refuses bare weights', () => {
    const input = put(
      directory,
      'bare.safetensors',
      safetensorsBytes([floatTensor('w', 'F32', [4, 256], new Float32Array(1024))]),
    );
    expect(existsSync(join(directory, 'config.json'))).toBe(false);
    expect(() => plan({ input, method: 'gptq' })).toThrow(NoForwardPassError);
    expect(() => plan({ input, method: 'gptq' })).toThrow('config.json');
  });
});
