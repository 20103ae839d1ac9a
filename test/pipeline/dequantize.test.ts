import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { toBfloat16, toFloat16 } from '../../src/core/float.ts';
import { elementsOf, type TypeName } from '../../src/core/types.ts';
import { planQuantization, quantize } from '../../src/pipeline.ts';
import { openCheckpoint } from '../../src/read/checkpoint.ts';
import { OutputExistsError } from '../../src/write/errors.ts';
import { engineDirectory, loadGgml } from '../engine/ggml.ts';
import { repository } from '../support/checkpoints.ts';
import { describeDecoding, floats } from '../support/gguf-inputs.ts';
import { dataOf, GgufRuns } from '../support/gguf-runs.ts';
import { floatTensor, writeSafetensors } from '../support/safetensors-writer.ts';
import { put, temporaryDirectory } from '../support/temporary.ts';

/** `decode`: models in plain numbers again. */

const runs = new GgufRuns(temporaryDirectory());
const bundled = 'fixtures/sotu-3m';

// Of every coding to float32, and of one to all floats; all pairs are in the long tests.
describeDecoding(runs, [
  ...floats.map((to) => ['Q8_0', to] as const),
  ...(['Q4_K_M', 'Q2_K', 'TQ1_0', 'IQ4_XS'] as const).map((from) => [from, 'F32'] as const),
  ...([
    ['F16', 'F32'],
    ['BF16', 'F16'],
  ] as const),
]);

describe('to GGUF', () => {
  it('decodes what llama-quantize would leave quantized, and F32 means all of it', async () => {
    const from = await runs.converted(bundled, 'Q8_0');
    const input = runs.rewritten(from, 'odd.gguf', ({ tensors }) => {
      const odd = new Map(tensors);
      const quantized = odd.get('blk.0.attn_q.weight')!;
      odd.set('x.rel_pos', { ...quantized, name: 'x.rel_pos' });
      odd.set('y.rel_pos', { ...quantized, name: 'y.rel_pos', type: 'F16', shape: [64, 544] });
      odd.set('z.table', { ...quantized, name: 'z.table', type: 'I8', shape: [69_632] });
      return { tensors: odd };
    });
    const typeOf = (type: string) =>
      new Map(
        planQuantization({ input, type, decode: true }).plan.tensors.map(({ name, type: to }) => [name, to]),
      );
    expect(['x.rel_pos', 'y.rel_pos', 'z.table'].map((name) => typeOf('F32').get(name))).toEqual([
      'F32',
      'F32',
      'I8',
    ]);
    expect(['x.rel_pos', 'y.rel_pos', 'z.table'].map((name) => typeOf('BF16').get(name))).toEqual([
      'BF16',
      'F16',
      'I8',
    ]);
  });

  it('converts safetensors as the main command does', async () => {
    const input = join(repository, bundled);
    const decoded = await runs.ours(input, { type: 'F16', decode: true });
    expect(decoded.equals(readFileSync(await runs.converted(bundled, 'F16')))).toBe(true);
  });
});

const ggml = engineDirectory === null ? null : loadGgml();

/** A tensor's values as the judge decodes them, in the bytes of another type. */
function decodedBytes(from: TypeName, bytes: Uint8Array, n: number, to: TypeName): Buffer {
  const values = from === 'F32' ? new Float32Array(bytes.slice().buffer) : ggml!.dequantize(from, bytes, n);
  const packed = to === 'F32' ? values : Uint16Array.from(values, to === 'F16' ? toFloat16 : toBfloat16);
  return Buffer.from(packed.buffer);
}

describe.skipIf(engineDirectory === null)('to safetensors', () => {
  it.each(floats)('%s: names of the GGUF, shapes of PyTorch, values of ggml', async (to) => {
    const input = await runs.converted(bundled, 'Q4_K_M');
    const output = runs.at(`decoded-${to}.safetensors`);
    await quantize({ input, output, type: to, decode: true, threads: 2 });
    const [before, after] = [openCheckpoint(input), openCheckpoint(output)];
    expect(after.format).toBe('safetensors');
    expect([...after.tensors.keys()].sort()).toEqual([...before.tensors.keys()].sort());
    for (const tensor of after.tensors.values()) {
      const stored = before.tensors.get(tensor.name)!;
      expect(tensor.shape).toEqual(stored.shape);
      expect(tensor.type).toBe(stored.type === 'F32' ? 'F32' : to);
      const wanted = decodedBytes(stored.type, dataOf(before, stored), elementsOf(stored.shape), tensor.type);
      expect(dataOf(after, tensor).equals(wanted)).toBe(true);
      expect(tensor.offset % 4).toBe(0);
    }
  });

  it('carries the texts of the metadata', async () => {
    const input = await runs.converted(bundled, 'Q8_0');
    const output = runs.at('texts.safetensors');
    await quantize({ input, output, type: 'BF16', decode: true, threads: 2 });
    const bytes = readFileSync(output);
    const length = Number(bytes.readBigUInt64LE());
    expect(length % 8).toBe(0);
    const texts = JSON.parse(bytes.toString('utf8', 8, 8 + length)).__metadata__;
    expect(texts).toMatchObject({ format: 'pt', 'general.architecture': 'llama' });
    expect(Object.values(texts).every((text) => typeof text === 'string')).toBe(true);
    expect('llama.block_count' in texts).toBe(false);
  });
});

describe('safetensors to safetensors', () => {
  it('keeps names, rows and shapes, every number in the type', async () => {
    const input = runs.at('in.safetensors');
    writeSafetensors(input, [
      floatTensor('model.layers.0.self_attn.q_proj.weight', 'BF16', [4, 2], [1, 2, 3, 4, 5, 6, 7, 8]),
      floatTensor('deep', 'F32', [1, 1, 1, 1, 2], [0.1, -0.1]),
    ]);
    const output = runs.at('out.safetensors');
    await quantize({ input, output, type: 'F16', decode: true, threads: 1 });
    const after = openCheckpoint(output);
    const q = after.tensors.get('model.layers.0.self_attn.q_proj.weight')!;
    expect([q.type, q.shape]).toEqual(['F16', [4, 2]]);
    const halves = [1, 2, 3, 4, 5, 6, 7, 8].map(toFloat16);
    expect([...new Uint16Array(dataOf(after, q).buffer.slice(0, 16))]).toEqual(halves);
    const deep = after.tensors.get('deep')!;
    expect([deep.type, deep.shape]).toEqual(['F16', [1, 1, 1, 1, 2]]);
  });
});

describe('safetensors of a model whose files beside it are unusable', () => {
  it('need none of them', async () => {
    const directory = temporaryDirectory();
    put(directory, 'config.json', '{"architectures": ["Unheard"]}');
    put(directory, 'tokenizer.json', 'no JSON');
    writeSafetensors(join(directory, 'model.safetensors'), [floatTensor('w', 'F16', [2], [1, 2])]);
    const output = runs.at('alone.safetensors');
    await quantize({ input: directory, output, type: 'F32', decode: true, threads: 1 });
    expect(openCheckpoint(output).tensors.get('w')).toMatchObject({ type: 'F32', shape: [2] });
  });
});

describe('the output', () => {
  it('is atomic and not overwritten', async () => {
    const input = await runs.converted(bundled, 'Q8_0');
    const output = runs.at('twice.safetensors');
    const run = () => quantize({ input, output, type: 'F16', decode: true, threads: 2 });
    await run();
    expect(existsSync(`${output}.partial`)).toBe(false);
    await expect(run()).rejects.toBeInstanceOf(OutputExistsError);
  });

  it('is the same at any number of threads, chunk size and kernels', async () => {
    const input = await runs.converted(bundled, 'Q4_K_M');
    const files = await Promise.all(
      [{ threads: 1 }, { threads: 3, chunkSize: 32_768 }, { threads: 2, kernels: 'scalar' as const }].map(
        (options, i) =>
          runs.ours(input, {
            type: 'F32',
            decode: true,
            output: runs.at(`same-${i}.safetensors`),
            ...options,
          }),
      ),
    );
    for (const file of files) expect(file.equals(files[0])).toBe(true);
  });

  it('is no safetensors file unless it is decoded', async () => {
    const input = await runs.converted(bundled, 'Q8_0');
    expect(() => planQuantization({ input, type: 'F16', output: 'x.safetensors' })).toThrow(
      /its name says safetensors[\s\S]*quantize dequantize/,
    );
  });
});
