// A further model to judge by, of another shape than the bundled one and without training: the same function, written
// with other weights. Usage (Node 24): node scripts/derive-model.ts DIR [--experts 4]
//
// * The residual stream is rotated by a random orthogonal matrix, and the norms' weights are moved into the matrices
//   that read it (QuaRot, arXiv:2404.00456, section 3): other columns matter, and every norm's weight is 1.
// * The embedding and the output are then no longer the same matrix.
// * Keys and values are repeated, so that each query head has its own.
// * With --experts, the feed-forward layer becomes so many equal experts of which a random router takes two: their
//   weighted mean is what one of them gives. Each sees other tokens, so each is quantized in its own way.
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { fromBfloat16 } from '../src/core/float.ts';
import { withSource } from '../src/read/byte-source.ts';
import { openCheckpoint } from '../src/read/checkpoint.ts';
import { gaussian } from '../test/support/random.ts';
import { floatTensor, type TensorToWrite, writeSafetensors } from '../test/support/safetensors-writer.ts';

/** Rows of weights, [rows, columns]. */
interface Matrix {
  readonly rows: number;
  readonly columns: number;
  readonly values: Float64Array;
}

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { experts: { type: 'string', default: '0' } },
});
const [directory] = positionals;
if (directory === undefined) throw new Error('usage: derive-model.ts DIR [--experts 4]');
const experts = Number(options.experts);

const source = fileURLToPath(new URL('../fixtures/sotu-3m/', import.meta.url));
const config = JSON.parse(readFileSync(join(source, 'config.json'), 'utf8'));
const width: number = config.hidden_size;
const checkpoint = openCheckpoint(source);

function load(name: string): Matrix {
  const { file, offset, byteLength, shape } = checkpoint.tensors.get(name)!;
  const bytes = withSource(checkpoint.files[file].path, (input) => input.read(offset, byteLength));
  const halves = new Uint16Array(new Uint8Array(bytes).buffer);
  const columns = shape.at(-1)!;
  return { rows: halves.length / columns, columns, values: Float64Array.from(halves, fromBfloat16) };
}

/** a times b. */
function product(a: Matrix, b: Matrix): Matrix {
  const values = new Float64Array(a.rows * b.columns);
  for (let i = 0; i < a.rows; i++) {
    for (let k = 0; k < a.columns; k++) {
      const x = a.values[i * a.columns + k];
      for (let j = 0; j < b.columns; j++) values[i * b.columns + j] += x * b.values[k * b.columns + j];
    }
  }
  return { rows: a.rows, columns: b.columns, values };
}

function transposed({ rows, columns, values }: Matrix): Matrix {
  const turned = values.map((_, i) => values[(i % rows) * columns + Math.floor(i / rows)]);
  return { rows: columns, columns: rows, values: turned };
}

/** Columns times the weights of the norm whose output they read. */
const scaled = (matrix: Matrix, { values }: Matrix): Matrix => ({
  ...matrix,
  values: matrix.values.map((x, i) => x * values[i % matrix.columns]),
});

/** Each head's rows as many times as there are query heads to one head of keys. */
function repeated({ columns, values }: Matrix): Matrix {
  const times = config.num_attention_heads / config.num_key_value_heads;
  const block = config.head_dim * columns;
  const all = new Float64Array(values.length * times);
  for (let head = 0; head < config.num_attention_heads; head++) {
    const from = Math.floor(head / times) * block;
    all.set(values.subarray(from, from + block), head * block);
  }
  return { rows: all.length / columns, columns, values: all };
}

const normal = (rows: number, columns: number, seed: number): Matrix => ({
  rows,
  columns,
  values: new Float64Array(rows * columns).map(gaussian(seed)),
});

/** A random orthogonal matrix: rows of normal numbers, each made orthogonal to those before it (twice) and of length 1. */
function orthogonal(n: number): Matrix {
  const matrix = normal(n, n, 1);
  const row = (i: number) => matrix.values.subarray(i * n, (i + 1) * n);
  const dot = (a: Float64Array, b: Float64Array) => a.reduce((sum, x, i) => sum + x * b[i], 0);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < 2 * i; j++) {
      const other = row(j % i);
      const along = dot(row(i), other);
      row(i).set(row(i).map((x, k) => x - along * other[k]));
    }
    const length = Math.sqrt(dot(row(i), row(i)));
    row(i).set(row(i).map((x) => x / length));
  }
  return matrix;
}

const rotation = orthogonal(width);
const back = transposed(rotation);
/** What reads the residual stream through a norm, and what writes to it. */
const reader = (name: string, norm: string) => product(scaled(load(name), load(norm)), rotation);
const writer = (name: string) => product(back, load(name));

const tensors: TensorToWrite[] = [];
const add = (name: string, { rows, columns, values }: Matrix) =>
  tensors.push(floatTensor(name, 'F32', [rows, columns], Float32Array.from(values)));
const addNorm = (name: string) =>
  tensors.push(floatTensor(name, 'F32', [width], new Float32Array(width).fill(1)));

add('model.embed_tokens.weight', product(load('model.embed_tokens.weight'), rotation));
add('lm_head.weight', reader('model.embed_tokens.weight', 'model.norm.weight'));
addNorm('model.norm.weight');
for (let layer = 0; layer < config.num_hidden_layers; layer++) {
  const prefix = `model.layers.${layer}`;
  const [attentionNorm, norm] = ['input_layernorm', 'post_attention_layernorm'].map(
    (name) => `${prefix}.${name}.weight`,
  );
  const attention = (name: string) => `${prefix}.self_attn.${name}_proj.weight`;
  add(attention('q'), reader(attention('q'), attentionNorm));
  add(attention('k'), repeated(reader(attention('k'), attentionNorm)));
  add(attention('v'), repeated(reader(attention('v'), attentionNorm)));
  add(attention('o'), writer(attention('o')));
  const feedForward = (name: string) => `${prefix}.mlp.${name}_proj.weight`;
  const parts: [name: string, expertName: string, Matrix][] = [
    [feedForward('gate'), 'w1', reader(feedForward('gate'), norm)],
    [feedForward('down'), 'w2', writer(feedForward('down'))],
    [feedForward('up'), 'w3', reader(feedForward('up'), norm)],
  ];
  const moe = `${prefix}.block_sparse_moe`;
  if (experts > 0) add(`${moe}.gate.weight`, normal(experts, width, 2 + layer));
  for (const [name, expertName, matrix] of parts) {
    if (experts === 0) add(name, matrix);
    for (let i = 0; i < experts; i++) add(`${moe}.experts.${i}.${expertName}.weight`, matrix);
  }
  addNorm(attentionNorm);
  addNorm(norm);
}

mkdirSync(directory, { recursive: true });
writeSafetensors(join(directory, 'model.safetensors'), tensors);
for (const name of ['tokenizer.json', 'tokenizer_config.json', 'generation_config.json']) {
  copyFileSync(join(source, name), join(directory, name));
}
const mixture = {
  architectures: ['MixtralForCausalLM'],
  model_type: 'mixtral',
  num_local_experts: experts,
  num_experts_per_tok: 2,
};
const changed = {
  ...config,
  dtype: 'float32',
  num_key_value_heads: config.num_attention_heads,
  tie_word_embeddings: false,
  ...(experts > 0 ? mixture : {}),
};
writeFileSync(join(directory, 'config.json'), JSON.stringify(changed, null, 2));
