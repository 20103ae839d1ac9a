#!/usr/bin/env node
// Writes a checkpoint of any size in the form of a Llama, with Gaussian bf16 weights, for the memory and speed
// measurements. Usage: node scripts/make-checkpoint.js DIR --gib 4 [--hidden 2048] [--vocab 32000] [--shard-gib 2]
//
// The weights are one 16 MiB table of Gaussian values, written again and again from shifting positions: cheap to
// make, and no two rows are equal.
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    gib: { type: 'string', default: '4' },
    hidden: { type: 'string', default: '2048' },
    vocab: { type: 'string', default: '32000' },
    'shard-gib': { type: 'string', default: '2' },
  },
});
const [directory] = positionals;
if (!directory) {
  console.error('usage: make-checkpoint.js DIR --gib 4 [--hidden 2048] [--vocab 32000] [--shard-gib 2]');
  process.exit(2);
}
const GIB = 2 ** 30;
const hidden = Number(values.hidden);
const vocab = Number(values.vocab);
const heads = hidden / 64;
const kvHeads = Math.max(1, heads / 4);
const ffn = Math.round((hidden * 2.75) / 256) * 256;

const perLayer = [
  ['self_attn.q_proj.weight', [hidden, hidden]],
  ['self_attn.k_proj.weight', [kvHeads * 64, hidden]],
  ['self_attn.v_proj.weight', [kvHeads * 64, hidden]],
  ['self_attn.o_proj.weight', [hidden, hidden]],
  ['mlp.gate_proj.weight', [ffn, hidden]],
  ['mlp.up_proj.weight', [ffn, hidden]],
  ['mlp.down_proj.weight', [hidden, ffn]],
  ['input_layernorm.weight', [hidden]],
  ['post_attention_layernorm.weight', [hidden]],
];
const bytesOf = (shape) => 2 * shape.reduce((a, b) => a * b, 1);
const layerBytes = perLayer.reduce((sum, [, shape]) => sum + bytesOf(shape), 0);
const ends = [
  ['model.embed_tokens.weight', [vocab, hidden]],
  ['lm_head.weight', [vocab, hidden]],
  ['model.norm.weight', [hidden]],
];
const endBytes = ends.reduce((sum, [, shape]) => sum + bytesOf(shape), 0);
const layers = Math.max(1, Math.ceil((Number(values.gib) * GIB - endBytes) / layerBytes));
const tensors = [...ends];
for (let layer = 0; layer < layers; layer++) {
  for (const [name, shape] of perLayer) tensors.push([`model.layers.${layer}.${name}`, shape]);
}

const table = gaussianTable(8 << 20);
mkdirSync(directory, { recursive: true });
const shards = [[]];
let shardBytes = 0;
for (const tensor of tensors) {
  if (shardBytes > 0 && shardBytes + bytesOf(tensor[1]) > Number(values['shard-gib']) * GIB) {
    shards.push([]);
    shardBytes = 0;
  }
  shards.at(-1).push(tensor);
  shardBytes += bytesOf(tensor[1]);
}
const weightMap = {};
let total = 0;
shards.forEach((shard, i) => {
  const number = (n) => String(n).padStart(5, '0');
  const file =
    shards.length === 1
      ? 'model.safetensors'
      : `model-${number(i + 1)}-of-${number(shards.length)}.safetensors`;
  const header = {};
  let offset = 0;
  for (const [name, shape] of shard) {
    header[name] = { dtype: 'BF16', shape, data_offsets: [offset, (offset += bytesOf(shape))] };
    weightMap[name] = file;
  }
  total += offset;
  let json = JSON.stringify(header);
  json += ' '.repeat((8 - (json.length % 8)) % 8);
  const descriptor = openSync(join(directory, file), 'w');
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  writeSync(descriptor, length);
  writeSync(descriptor, json);
  let position = 0; // bytes into the table, moved on by an odd number of values after each lap
  for (let left = offset; left > 0; ) {
    const bytes = Math.min(left, table.length - position);
    writeSync(descriptor, table, position, bytes);
    left -= bytes;
    position = position + bytes === table.length ? (left % 8191) * 2 : position + bytes;
  }
  closeSync(descriptor);
});
if (shards.length > 1) {
  const index = { metadata: { total_size: total }, weight_map: weightMap };
  writeFileSync(join(directory, 'model.safetensors.index.json'), JSON.stringify(index));
}

writeJson('config.json', {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  dtype: 'bfloat16',
  hidden_size: hidden,
  intermediate_size: ffn,
  num_hidden_layers: layers,
  num_attention_heads: heads,
  num_key_value_heads: kvHeads,
  head_dim: 64,
  max_position_embeddings: 2048,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  hidden_act: 'silu',
  tie_word_embeddings: false,
  vocab_size: vocab,
  bos_token_id: 0,
  eos_token_id: 0,
});
// The bundled model's tokenizer, filled up to size with words, and two merges for each: as large as published ones.
const fixture = fileURLToPath(new URL('../fixtures/sotu-3m/', import.meta.url));
const tokenizer = JSON.parse(readFileSync(join(fixture, 'tokenizer.json'), 'utf8'));
fillUp(tokenizer.model, vocab);
writeJson('tokenizer.json', tokenizer);
writeFileSync(join(directory, 'tokenizer_config.json'), readFileSync(join(fixture, 'tokenizer_config.json')));
console.log(`${directory}: ${layers} layers, ${(total / GIB).toFixed(2)} GiB in ${shards.length} file(s)`);

function writeJson(name, value) {
  writeFileSync(join(directory, name), JSON.stringify(value));
}

function fillUp(model, size) {
  const known = Object.keys(model.vocab).length;
  let state = 1;
  const below = (n) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
  for (let id = known; id < size; ) {
    const letters = Array.from({ length: 2 + below(9) }, () => String.fromCharCode(97 + below(26)));
    const word = (below(2) === 0 ? '\u0120' : '') + letters.join('');
    if (Object.hasOwn(model.vocab, word)) continue;
    model.vocab[word] = id++;
    for (let i = 0; i < 2; i++) {
      const cut = 1 + below(word.length - 1);
      model.merges.push([word.slice(0, cut), word.slice(cut)]);
    }
  }
}

/** Gaussian bf16 values of standard deviation 0.02, from a seeded generator. */
function gaussianTable(count) {
  const out = new Uint16Array(count);
  const float = new Float32Array(1);
  const bits = new Uint32Array(float.buffer);
  let state = 1;
  const uniform = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state + 0.5) / 2 ** 32;
  };
  for (let i = 0; i < count; i++) {
    float[0] = 0.02 * Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
    out[i] = bits[0] >>> 16;
  }
  return Buffer.from(out.buffer);
}
