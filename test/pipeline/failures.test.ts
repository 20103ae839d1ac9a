import {
  cpSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join, relative } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type QuantizeError, UsageError } from '../../src/core/errors.ts';
import {
  InputChangedError,
  NotFiniteWeightError,
  ReadError,
  ScaleOverflowError,
} from '../../src/core/weight-errors.ts';
import { InterruptedError } from '../../src/failures.ts';
import { type PipelineEvent, type QuantizeOptions, quantize } from '../../src/pipeline.ts';
import { OutputIsInputError, OutputPathError } from '../../src/write/errors.ts';
import {
  COLUMN,
  describeNotFinite,
  directory,
  doubles,
  failure,
  little,
  output,
  planted,
  ROW,
  ROWS,
  ramp,
  WIDTH,
} from '../support/bad-weights.ts';
import { bundledModel, hashOf } from '../support/cli.ts';
import { floatTensor, safetensorsBytes } from '../support/safetensors-writer.ts';
import { put } from '../support/temporary.ts';

/** Weights that cannot be coded, inputs that change, runs that are aborted: each its own error, with names. */

describeNotFinite(false);

describe('a weight that is not finite', () => {
  it('is looked for in tensors that are only copied', async () => {
    const vector = floatTensor('bias', 'F32', [4], [1, 2, Number.NaN, 4]);
    const input = put(directory, 'bias.safetensors', safetensorsBytes([vector]));
    const error = await failure({ input, type: 'Q8_0' });
    expect(error).toBeInstanceOf(NotFiniteWeightError);
    expect(error.details).toMatchObject({ tensor: 'bias', got: 'NaN at row 0, column 2' });
  });

  it('may be a double that float32 does not reach', async () => {
    const input = planted('F64', 8, doubles(-1e300));
    for (const options of [{ type: 'Q4_0' }, { method: 'zero-point', bits: 8 }]) {
      const error = await failure({ input, ...options });
      expect(error).toBeInstanceOf(NotFiniteWeightError);
      expect(error.message).toMatch(/^a weight is beyond the range of float32\n/);
      expect(error.details.got).toBe(`-1e+300 at row ${ROW}, column ${COLUMN}`);
    }
  });

  it('is named as stored: by the name and the row of the checkpoint, whatever order the output has', async () => {
    const model = join(directory, 'model');
    cpSync(bundledModel, model, { recursive: true });
    const path = join(model, 'model.safetensors');
    const file = readFileSync(path);
    const header = JSON.parse(file.toString('utf8', 8, 8 + Number(file.readBigUInt64LE(0))));
    const name = 'model.layers.2.self_attn.k_proj.weight';
    const start = 8 + Number(file.readBigUInt64LE(0)) + header[name].data_offsets[0];
    // Rotary order moves the second half of a head's rows between those of the first.
    file.writeUInt16LE(0x7fc0, start + 2 * (40 * 256 + 77));
    writeFileSync(path, file);
    const error = await failure({ input: model, type: 'Q4_K_M' });
    expect(error).toBeInstanceOf(NotFiniteWeightError);
    expect(error.details).toMatchObject({
      file: path,
      tensor: `blk.2.attn_k.weight (stored as ${name})`,
      got: 'NaN at row 40, column 77',
    });
  });
});

describe('a weight beyond the reach of its type', () => {
  const large = (value: number) => planted('F32', 4, little(Float32Array.of(value)));
  const blocks = ['Q8_0', 'Q4_0', 'Q4_1', 'Q5_0', 'Q5_1', 'Q2_K', 'Q3_K_S', 'Q4_K_S', 'Q5_K_S', 'Q6_K'];
  it.each([...blocks, 'IQ4_NL', 'IQ4_XS', 'TQ1_0', 'TQ2_0', 'Q1_0', 'Q2_0'])('%s', async (type) => {
    const input = large(1e9);
    for (const kernels of ['simd', 'scalar'] as const) {
      const error = await failure({ input, type, kernels });
      expect(error).toBeInstanceOf(ScaleOverflowError);
      expect(error.message).toMatch(/^a block has a scale beyond the reach of /);
      expect(error.details).toMatchObject({
        file: input,
        tensor: 'layer.weight',
        advice: "keep this tensor in a wider type, for example --tensor-type 'layer.weight=BF16'",
      });
      expect(error.details.got).toBe(
        `values that are not finite, from a block with 1000000000 at row ${ROW}, column ${COLUMN}`,
      );
    }
  });

  it('ternary codes around the mean', async () => {
    const data = new Float32Array(ROWS * WIDTH).fill(1e6);
    const all = floatTensor('layer.weight', 'F32', [ROWS, WIDTH], data);
    const input = put(directory, 'all.safetensors', safetensorsBytes([all]));
    expect(await failure({ input, method: 'ternary' })).toBeInstanceOf(ScaleOverflowError);
  });

  it.each([
    ['F16', 70_000, 'BF16'],
    ['BF16', 3.4e38, 'F32'],
  ])('%s', async (type, value, wider) => {
    const input = large(value);
    const error = await failure({ input, type });
    expect(error).toBeInstanceOf(ScaleOverflowError);
    expect(error.message).toMatch(`a weight is beyond the reach of ${type}\n`);
    expect(error.details).toMatchObject({
      file: input,
      got: `${Math.fround(value)} at row ${ROW}, column ${COLUMN}`,
      advice: `keep this tensor in a wider type, for example --tensor-type 'layer.weight=${wider}'`,
    });
    await quantize({ input, output, threads: 1, type: wider });
    rmSync(output);
  });

  it('large weights that fit are no failure', async () => {
    await quantize({ input: large(1e6), output, threads: 1, type: 'Q8_0' });
    await quantize({ input: large(1e9), output, threads: 1, method: 'zero-point', bits: 8, force: true });
    rmSync(output);
  });
});

describe('an input that changes while it is read', () => {
  const input = () => put(directory, 'changing.safetensors', safetensorsBytes([good()]));
  const good = () => floatTensor('layer.weight', 'F32', [ROWS, WIDTH], ramp());
  const change = (act: (path: string) => void, options: Partial<QuantizeOptions>) => {
    const path = input();
    return quantize({ input: path, output, threads: 2, ...options }, (event) => {
      if (event.kind === 'plan') act(path);
    }).then(
      () => new Error('the run succeeded'),
      (reason) => reason as QuantizeError,
    );
  };

  it.each([{ type: 'Q4_0' }, { method: 'zero-point', bits: 8 }])('cut short: %j', async (options) => {
    const error = (await change((path) => truncateSync(path, 5000), options)) as QuantizeError;
    expect(error).toBeInstanceOf(InputChangedError);
    expect(error.details).toMatchObject({
      file: join(directory, 'changing.safetensors'),
      tensor: 'layer.weight',
    });
  });

  it('gone', async () => {
    const error = (await change((path) => rmSync(path), { type: 'Q4_0' })) as QuantizeError;
    expect(error).toBeInstanceOf(ReadError);
    expect(error.details.got).toContain('ENOENT');
  });
});

describe('an output that is an input', () => {
  it('is refused by whatever name, force or not, and stays as it is', async () => {
    const place = join(directory, 'inputs');
    const model = join(place, 'model');
    cpSync(bundledModel, model, { recursive: true });
    symlinkSync(model, join(place, 'link'));
    linkSync(join(model, 'tokenizer.json'), join(place, 'hard.gguf'));
    symlinkSync(join(model, 'model.safetensors'), join(place, 'soft.gguf'));
    const before = hashOf(join(model, 'model.safetensors'));
    const named = ['config.json', 'tokenizer.json', 'tokenizer_config.json', 'model.safetensors'];
    for (const to of [
      ...named.map((name) => join(model, name)),
      ...named.map((name) => join(place, 'link', name)),
      ...[join(place, 'hard.gguf'), join(place, 'soft.gguf'), relative('.', join(model, 'config.json'))],
    ]) {
      for (const input of [model, join(place, 'link'), join(model, 'model.safetensors')]) {
        const error = await quantize({ input, output: to, force: true, type: 'Q4_0' }).catch(
          (reason) => reason,
        );
        // By this name it is refused before anything is looked up.
        const early = to.endsWith('.safetensors');
        expect(error).toBeInstanceOf(early ? UsageError : OutputIsInputError);
        expect(error.exitCode).toBe(2);
      }
    }
    for (const force of [true, false]) {
      const error = await quantize({ input: model, output: model, force, type: 'Q4_0' }).catch(
        (reason) => reason,
      );
      expect(error).toBeInstanceOf(OutputPathError);
    }
    expect(hashOf(join(model, 'model.safetensors'))).toBe(before);
    expect(readdirSync(model).sort()).toEqual(readdirSync(bundledModel).sort());
  });

  it('is not any file that lies beside the model', async () => {
    const place = join(directory, 'beside');
    cpSync(bundledModel, place, { recursive: true });
    const old = put(place, 'old.bin', 'x');
    await quantize({ input: place, output: old, force: true, type: 'Q4_0' });
    expect(readFileSync(old).toString('latin1', 0, 4)).toBe('GGUF');
  });
});

describe('an aborted run', () => {
  const abortAt = async (when: (event: PipelineEvent) => boolean, options: Partial<QuantizeOptions> = {}) => {
    const place = join(directory, 'aborted');
    rmSync(place, { recursive: true, force: true });
    mkdirSync(place);
    const controller = new AbortController();
    const events: PipelineEvent[] = [];
    const settings = {
      input: bundledModel,
      output: join(place, 'm.gguf'),
      threads: 2,
      chunkSize: 32768,
      ...options,
    };
    const error = await quantize({ ...settings, signal: controller.signal }, (event) => {
      events.push(event);
      if (when(event)) controller.abort('SIGTERM');
    }).catch((reason) => reason);
    return { error, events, place, settings };
  };

  it('before it writes has written nothing', async () => {
    const { error, events, place } = await abortAt(
      (event) => event.kind === 'stage' && event.stage === 'calibrate',
      {
        method: 'zero-point',
        bits: 8,
      },
    );
    expect(error).toBeInstanceOf(InterruptedError);
    expect(error.details.got).toBe('nothing was written');
    expect(events.some(({ kind }) => kind === 'kept')).toBe(false);
    expect(readdirSync(place)).toEqual([]);
  });

  it('says what it keeps, and the same program can run it again', async () => {
    const { error, events, place, settings } = await abortAt((event) => event.kind === 'progress', {
      type: 'Q4_0',
    });
    expect(error).toBeInstanceOf(InterruptedError);
    expect(error.message).toMatch(/^interrupted by SIGTERM\n/);
    expect(events.at(-1)).toEqual({
      kind: 'kept',
      paths: [join(place, 'm.gguf.partial'), join(place, 'm.gguf.partial.json')],
    });
    expect(readdirSync(place)).toEqual(['m.gguf.partial', 'm.gguf.partial.json']);
    await quantize(settings);
    expect(readdirSync(place)).toEqual(['m.gguf']);
  });
});
