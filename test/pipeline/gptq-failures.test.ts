import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { MemoryBudgetError } from '../../src/compute/arena.ts';
import { BlasError } from '../../src/compute/blas.ts';
import { inTermsOfMemory } from '../../src/conduct/memory.ts';
import { UsageError } from '../../src/core/errors.ts';
import { collectImportance, evaluate } from '../../src/model-runs.ts';
import { type QuantizeOptions, quantize } from '../../src/pipeline.ts';
import { shortText } from '../support/short-text.ts';
import { put, temporaryDirectory } from '../support/temporary.ts';
import { type TinyLlamaChanges, tinyLlama } from '../support/tiny-llama.ts';

/** Runs over a text that cannot end well: each has its own error, with names and numbers, and nothing at the output. */

const directory = temporaryDirectory();
let count = 0;
const changed = (changes: TinyLlamaChanges): string =>
  tinyLlama(join(directory, `model-${count++}`), changes);
const good = changed({});
const text = shortText(directory, 512);

/** The error of a run, by its name and text. The output is not there, before nor after. */
async function failure(options: Partial<QuantizeOptions>): Promise<Error> {
  const output = join(directory, 'm.gguf');
  const common = {
    input: good,
    method: 'gptq',
    type: 'Q4_0',
    leaveOutputTensor: true,
    gemm: 'wasm',
  } as const;
  const sizes = { calibration: [text], calibrationTokens: 512, context: 128, threads: 1 };
  const run = quantize({ ...common, ...sizes, output, force: true, ...options });
  const error = await run.then(
    () => null,
    (reason: Error) => reason,
  );
  const left = readdirSync(directory).filter((name) => name.startsWith('m.gguf'));
  for (const name of left) rmSync(join(directory, name));
  if (error === null) throw new Error('the run succeeded');
  expect(left).not.toContain('m.gguf');
  return error;
}

const secondUp = 'model.layers.1.mlp.up_proj.weight';
/** Width of models whose first layer is coded before the run fails. */
const narrow = 128;

describe('values', () => {
  it.each([Number.NaN, Number.NEGATIVE_INFINITY])(
    'a weight of %f in the middle of the model',
    async (bad) => {
      const input = changed({
        width: narrow,
        edit: (name, values) => {
          if (name === secondUp) values[3 * narrow + 77] = bad;
        },
      });
      const error = await failure({ input });
      expect(error.name).toBe('NotFiniteWeightError');
      expect(error.message).toBe(
        'a weight is not a finite float32\n' +
          `  file:     ${input}/model.safetensors\n` +
          '  tensor:   blk.1.ffn_up.weight\n' +
          '  expected: finite weights\n' +
          `  got:      ${bad} at row 3, column 77\n` +
          '  to do:    the checkpoint is damaged or its training diverged: download it again or repair the tensor',
      );
    },
  );

  /** The first layer is coded, then the second's norm makes its inputs too large. */
  const louder = (factor: number) =>
    changed({
      width: narrow,
      edit: (name, values) => {
        if (name !== 'model.layers.1.post_attention_layernorm.weight') return;
        for (const i of values.keys()) values[i] *= factor;
      },
    });

  it('activations that overflow name the layer', async () => {
    const error = await failure({ input: louder(2e38) });
    expect(error.name, error.message).toBe('NotFiniteActivationError');
    expect(error.message).toMatch(/^the calculation of the model is not finite in layer 1\n/);
    expect(error.message).toContain('  tensor:   blk.1.ffn_gate.weight\n');
    expect(error.message).toContain('in windows 0 to 3\n');
  });

  it('activations whose squares overflow', async () => {
    const error = await failure({ input: louder(1e25) });
    expect(error.name).toBe('NotFiniteHessianError');
    expect(error.message).toMatch(
      /tensor: {3}blk\.1\.ffn_gate\.weight[\s\S]*sum of squares Infinity in channel/,
    );
  });

  it('a weight that no scale holds', async () => {
    const input = changed({
      width: narrow,
      edit: (name, values) => {
        if (name === secondUp) values[300] = 1e9;
      },
    });
    const error = await failure({ input });
    expect(error.name).toBe('ScaleOverflowError');
    expect(error.message).toContain('tensor:   blk.1.ffn_up.weight');
    expect(error.message).toContain("--tensor-type 'blk.1.ffn_up.weight=BF16'");
  });
});

describe('texts', () => {
  it('shorter than a window', async () => {
    const calibration = [put(directory, 'short.txt', 'Call me Ishmael.')];
    const error = await failure({ calibration });
    expect(error.name).toBe('CalibrationTooShortError');
    expect(error.message).toMatch(/short\.txt\n {2}expected: at least 128 tokens\n {2}got: {6}\d+ tokens/);
  });

  it.each([
    ['empty', 'empty.txt', '', 'CalibrationFileError'],
    [
      'of bytes that are no text',
      'bytes.txt',
      Buffer.from([0xff, 0xfe, 0, 0xd8, 0xc0]),
      'CalibrationTextError',
    ],
    ['of lines that are no JSON', 'lines.jsonl', '{"text": "a"}\n{"text": \n', 'CalibrationLineError'],
    ['of lines without text', 'numbers.jsonl', '{"number": 1}\n', 'CalibrationLineError'],
    ['of deep lines', 'deep.jsonl', `{"text": ${'['.repeat(100_000)}\n`, 'CalibrationLineError'],
  ])('%s', async (_name, file, content, kind) => {
    const error = await failure({ calibration: [put(directory, file, content)] });
    expect(error.name).toBe(kind);
    expect(error.message).toContain(file);
    expect(error.message).toMatch(/\n {2}to do: /);
  });

  it('fewer tokens than a window', async () => {
    const error = await failure({ calibrationTokens: 100 });
    expect(error).toBeInstanceOf(UsageError);
    expect(error.message).toContain('raise --calibration-tokens or lower --context');
  });
});

describe('models', () => {
  it('without a tokenizer', async () => {
    const error = await failure({ input: changed({ tokenizer: false }) });
    expect(error.name).toBe('TokenizerError');
    expect(error.message).toContain('expected: tokenizer.model (SentencePiece) or tokenizer.json');
  });

  it('without a config', async () => {
    const input = changed({});
    rmSync(join(input, 'config.json'));
    const error = await failure({ input });
    expect(error.name).toBe('NoForwardPassError');
    expect(error.message).toContain('expected: config.json beside the weights');
  });

  it('of an architecture without a forward pass', async () => {
    const input = changed({ config: { architectures: ['GPTNeoXForCausalLM'], model_type: 'gpt_neox' } });
    const error = await failure({ input });
    expect(error.name).toMatch(/Error$/);
    expect(error.message).toMatch(/GPTNeoX|gpt_neox/);
    expect(error.message).toMatch(/\n {2}to do: /);
  });
});

describe('resources', () => {
  it('no BLAS where one is named', async () => {
    const path = join(directory, 'libnone.so');
    const error = await failure({ gemm: `blas:${path}` });
    expect(error.name).toBe(BlasError.name);
    expect(error.message).toContain(path);
    expect(error.message).toMatch(/--gemm wasm/);
  });

  it('too little memory names what had no room, and how much would do', async () => {
    const error = await failure({ memory: 4 << 20 });
    expect(error.name).toBe(MemoryBudgetError.name);
    expect(error.message).toMatch(
      /^no room in memory for .+\n {2}expected: --memory \d+M or more: .+\n {2}got: {6}4M\n {2}to do: {4}allow more/,
    );
  });

  it('more than can be addressed is no question of --memory', () => {
    const error = new MemoryBudgetError('no room', { advice: 'lower --context' }, 5e9);
    expect(inTermsOfMemory(error, 2 ** 34)).toBe(error);
  });

  it('a scratch folder that is not there', async () => {
    const kept = process.env.TMPDIR;
    process.env.TMPDIR = join(directory, 'missing');
    try {
      const calibration = [shortText(directory, 20_480)]; // whose states are more than a quarter of the memory
      const error = await failure({ memory: 64 << 20, calibration, calibrationTokens: 20_480 });
      expect(error.name).toBe('ScratchFileError');
      expect(error.message).toContain(process.env.TMPDIR);
    } finally {
      if (kept === undefined) delete process.env.TMPDIR;
      else process.env.TMPDIR = kept;
    }
  });
});

describe('an evaluation', () => {
  it('of what goes to a stream is refused before anything is done', async () => {
    const evalText = put(directory, 'eval.txt', 'words');
    const error = await failure({ output: '/dev/null', evalText });
    expect(error).toBeInstanceOf(UsageError);
    expect(error.message).toContain('--eval reads the output again, and a stream is gone');
  });

  it('of a text that is too short', async () => {
    const text = put(directory, 'two.txt', 'Hm');
    await expect(evaluate({ input: good, text, gemm: 'wasm' }, () => {})).rejects.toThrow(/two\.txt/);
  });

  it('of a model against itself', async () => {
    const base = changed({});
    const text = put(directory, 'words.txt', 'word and sentence, '.repeat(500));
    const run = evaluate({ input: good, base, text, context: 64, windows: 2, gemm: 'wasm' }, () => {});
    await expect(run).resolves.toMatchObject({ windows: 2, base: { divergence: { mean: 0 } } });
  });
});

it('importance of a damaged model', async () => {
  const input = changed({
    edit: (name, values) => {
      if (name === secondUp) values[0] = Number.NaN;
    },
  });
  const job = { input, calibration: [text], calibrationTokens: 512, context: 64, gemm: 'wasm' } as const;
  const run = collectImportance(job, () => {});
  await expect(run).rejects.toThrow(/tensor: {3}blk\.1\.ffn_up\.weight/);
});
