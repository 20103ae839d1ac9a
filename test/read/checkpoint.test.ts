import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import type { Checkpoint } from '../../src/core/checkpoint.ts';
import { elementsOf } from '../../src/core/types.ts';
import { withSource } from '../../src/read/byte-source.ts';
import { openCheckpoint } from '../../src/read/checkpoint.ts';
import { readModelFiles } from '../../src/read/model-files.ts';
import { ggufBytes } from '../support/gguf-writer.ts';
import { floatTensor, shardName, writeSafetensors, writeShards } from '../support/safetensors-writer.ts';
import { put, temporaryDirectory } from '../support/temporary.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const tensor = (name: string, value: number) => floatTensor(name, 'F32', [2], [value, value]);

/** The first value of each F32 tensor, by name, in order. */
function firstValues(checkpoint: Checkpoint): [string, number][] {
  return [...checkpoint.tensors].map(([name, { file, offset }]) => {
    const { path } = checkpoint.files[file];
    return [name, withSource(path, (source) => source.read(offset, 4)).readFloatLE(0)];
  });
}

describe('sharded checkpoint', () => {
  const directory = temporaryDirectory();
  const index = writeShards(directory, [
    [tensor('d', 1), tensor('c', 2)],
    [tensor('b', 3)],
    [tensor('a', 4)],
  ]);
  // A file that the index does not mention is no part of the model.
  writeSafetensors(join(directory, 'model-extra.safetensors'), [tensor('a', 9)]);

  it.each([
    ['its directory', directory],
    ['its index', index],
    ['its first shard', join(directory, shardName(1, 3))],
    ['its last shard', join(directory, shardName(3, 3))],
  ])('is opened by %s', (_, path) => {
    const checkpoint = openCheckpoint(path);
    expect(checkpoint.path).toBe(path);
    expect(checkpoint.directory).toBe(directory);
    expect(checkpoint.files.map((file) => file.path)).toEqual(
      [1, 2, 3].map((i) => join(directory, shardName(i, 3))),
    );
    expect(firstValues(checkpoint)).toEqual([
      ['c', 2],
      ['d', 1],
      ['b', 3],
      ['a', 4],
    ]);
  });

  it('needs no index in a directory that holds every shard', () => {
    const bare = temporaryDirectory();
    for (const i of [1, 2, 3]) copyFileSync(join(directory, shardName(i, 3)), join(bare, shardName(i, 3)));
    expect(firstValues(openCheckpoint(bare))).toEqual(firstValues(openCheckpoint(directory)));
  });

  it('may be a directory of links, as the Hugging Face cache is', () => {
    const snapshot = temporaryDirectory();
    for (const name of readdirSync(directory)) symlinkSync(join(directory, name), join(snapshot, name));
    const checkpoint = openCheckpoint(join(snapshot, shardName(2, 3)));
    expect(checkpoint.directory).toBe(snapshot);
    expect(firstValues(checkpoint)).toEqual(firstValues(openCheckpoint(directory)));
  });

  it('may keep its shards below the index', () => {
    const above = temporaryDirectory();
    mkdirSync(join(above, 'parts'));
    writeSafetensors(join(above, 'parts/one.safetensors'), [tensor('a', 1)]);
    put(above, 'model.safetensors.index.json', '{"weight_map":{"a":"parts/one.safetensors"}}');
    expect(firstValues(openCheckpoint(above))).toEqual([['a', 1]]);
  });
});

describe('choice of files', () => {
  const directory = temporaryDirectory();
  writeShards(directory, [[tensor('a', 1)], [tensor('b', 2)]]);
  writeSafetensors(join(directory, 'model.safetensors'), [tensor('c', 3)]);

  it('prefers the index to a single file, as the converter does', () => {
    expect(firstValues(openCheckpoint(directory))).toEqual([
      ['a', 1],
      ['b', 2],
    ]);
  });

  it('takes the single file when it is named', () => {
    expect(firstValues(openCheckpoint(join(directory, 'model.safetensors')))).toEqual([['c', 3]]);
  });

  it('takes one file of any name, also named or numbered as a whole', () => {
    for (const name of ['weights.safetensors', 'weights-00001-of-00001.safetensors']) {
      const other = temporaryDirectory();
      writeSafetensors(join(other, name), [tensor('a', 1)]);
      expect(firstValues(openCheckpoint(other))).toEqual([['a', 1]]);
      expect(firstValues(openCheckpoint(join(other, name)))).toEqual([['a', 1]]);
    }
  });

  it('leaves files that are not the model alone', () => {
    const other = temporaryDirectory();
    writeSafetensors(join(other, 'model.safetensors'), [tensor('a', 1)]);
    writeSafetensors(join(other, 'consolidated.safetensors'), [tensor('x', 2)]);
    put(other, 'pytorch_model.bin', 'PK');
    expect(firstValues(openCheckpoint(other))).toEqual([['a', 1]]);
  });

  it('goes by content where a name says nothing', () => {
    const other = temporaryDirectory();
    writeSafetensors(join(other, 'blob'), [tensor('a', 1)]);
    expect(openCheckpoint(join(other, 'blob')).format).toBe('safetensors');
    expect(openCheckpoint(put(other, 'other', ggufBytes([], []))).format).toBe('gguf');
    expect(openCheckpoint(put(other, 'gguf.safetensors', ggufBytes([], []))).format).toBe('gguf');
  });

  it('opens a GGUF with its metadata, its tensors in its own order', () => {
    const data = new Uint8Array(8);
    const path = put(
      temporaryDirectory(),
      'model.gguf',
      ggufBytes(
        [{ key: 'general.architecture', type: 'STRING', value: 'llama' }],
        [
          { name: 'b', type: 'F32', shape: [1, 2], data },
          { name: 'a', type: 'F32', shape: [2, 1], data },
        ],
      ),
    );
    const checkpoint = openCheckpoint(path);
    expect(checkpoint.metadata).toEqual([{ key: 'general.architecture', type: 'STRING', value: 'llama' }]);
    expect([...checkpoint.tensors.values()].map(({ name, shape }) => [name, shape])).toEqual([
      ['b', [1, 2]],
      ['a', [2, 1]],
    ]);
  });
});

describe('real models', () => {
  it('the bundled one', () => {
    const checkpoint = openCheckpoint(join(root, 'fixtures/sotu-3m'));
    const tensors = [...checkpoint.tensors.values()];
    expect(tensors.map(({ name }) => name).slice(0, 3)).toEqual([
      'model.embed_tokens.weight',
      'model.layers.0.input_layernorm.weight',
      'model.layers.0.mlp.down_proj.weight',
    ]);
    expect(checkpoint.tensors.get('model.embed_tokens.weight')?.shape).toEqual([2048, 256]);
    expect(new Set(tensors.map(({ type }) => type))).toEqual(new Set(['BF16']));
    const bytes = tensors.reduce((sum, { shape }) => sum + 2 * elementsOf(shape), 0);
    expect(checkpoint.files[0].size - bytes).toBe(
      tensors.reduce((low, t) => Math.min(low, t.offset), 2 ** 53),
    );
    const files = readModelFiles(checkpoint.directory);
    expect(files.config?.model_type).toBe('llama');
    expect(Object.keys((files.tokenizer!.model as { vocab: object }).vocab)).toHaveLength(2048);
  });

  const visible = join(root, '../shared/golden/visible');
  const name = (line: string) => `tensors of ${line} come in the converter's order`;
  for (const model of ['llama_256', 'llama_spm_f16', 'llama3_tied', 'mistral', 'qwen2', 'qwen3', 'gemma2']) {
    it.skipIf(!existsSync(join(visible, model)))(name(model), () => {
      const checkpoint = openCheckpoint(join(visible, model, 'checkpoint'));
      const golden = JSON.parse(readFileSync(join(visible, model, 'golden.json'), 'utf8')) as {
        tensors: { name: string; shape: number[] }[];
      };
      const stored = [...checkpoint.tensors.values()].map((t) => [
        converted(t.name, model),
        [...t.shape].reverse(),
      ]);
      // rope_freqs is computed by the converter.
      const expected = golden.tensors
        .filter((t) => t.name !== 'rope_freqs.weight')
        .map((t) => [t.name, t.shape]);
      expect(stored).toEqual(expected);
    });
  }
});

/** The converter's name for a tensor of the Llama family, enough to compare orders. */
function converted(name: string, model: string): string {
  const names: Record<string, string> = {
    'lm_head.weight': 'output.weight',
    'model.embed_tokens.weight': 'token_embd.weight',
    'model.norm.weight': 'output_norm.weight',
  };
  const parts: Record<string, string> = {
    input_layernorm: 'attn_norm',
    post_attention_layernorm: model === 'gemma2' ? 'post_attention_norm' : 'ffn_norm',
    pre_feedforward_layernorm: 'ffn_norm',
    post_feedforward_layernorm: 'post_ffw_norm',
    'mlp.down_proj': 'ffn_down',
    'mlp.gate_proj': 'ffn_gate',
    'mlp.up_proj': 'ffn_up',
    'self_attn.q_proj': 'attn_q',
    'self_attn.k_proj': 'attn_k',
    'self_attn.v_proj': 'attn_v',
    'self_attn.o_proj': 'attn_output',
    'self_attn.q_norm': 'attn_q_norm',
    'self_attn.k_norm': 'attn_k_norm',
  };
  const inLayer = /^model\.layers\.(\d+)\.(.*)\.(weight|bias)$/.exec(name);
  return inLayer === null ? names[name] : `blk.${inLayer[1]}.${parts[inLayer[2]]}.${inLayer[3]}`;
}
