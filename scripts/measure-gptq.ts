// GPTQ against llama-quantize with an importance matrix, at the same type for every tensor: what each file loses, in
// the real engine, on text that no calibration saw. Prints a table and writes it into docs/gptq.md.
//
//   npm run quality:gptq -- [MODEL] [--types Q2_K,Q4_K_M] [--calibration FILE] [--eval FILE]
//                           [--tokens 128000] [--table NAME]
//
// MODEL is anything that `quantize` reads, by default the bundled model. Both sides see the same number of tokens of
// the same calibration text, in windows of the same length. (Node 24, which runs TypeScript.)
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { Checkpoint } from '../src/core/checkpoint.ts';
import { dataTypes } from '../src/core/types.ts';
import { parseMixture } from '../src/plan/mixtures.ts';
import { withSource } from '../src/read/byte-source.ts';
import { openCheckpoint } from '../src/read/checkpoint.ts';
import { readImatrix } from '../src/read/imatrix.ts';
import { collectedEntries, collectImportance } from '../test/engine/imatrix.ts';
import { Llama } from '../test/engine/llama.ts';
import { quantizeModel } from '../test/engine/quantize.ts';
import { imatrixBytes } from '../test/support/imatrix-writer.ts';
import { divergenceRatio, type Quality, ReferenceLogits } from './reference-logits.ts';
import { replaceTable } from './tables.js';

const CONTEXT = 256;
const WINDOWS = 100;
/** Divergence of GPTQ over that of llama-quantize with importance: what is aimed at on the bundled model, elsewhere 1. */
const targets: Readonly<Record<string, number>> = {
  Q2_K: 0.7,
  Q3_K_S: 0.68,
  Q3_K_M: 0.68,
  Q4_0: 0.75,
  Q4_K_S: 1,
  Q4_K_M: 0.68,
  Q5_K_M: 0.85,
  Q6_K: 0.85,
  IQ4_XS: 0.75,
  TQ2_0: 1,
};

const root = fileURLToPath(new URL('..', import.meta.url));
const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    types: { type: 'string', default: Object.keys(targets).join() },
    calibration: { type: 'string', default: join(root, 'data/calibration.txt') },
    eval: { type: 'string', default: join(root, 'fixtures/text/eval.txt') },
    tokens: { type: 'string', default: '128000' },
    threads: { type: 'string', default: '2' },
    table: { type: 'string' },
  },
});
const bundled = positionals.length === 0;
const model = resolve(positionals[0] ?? join(root, 'fixtures/sotu-3m'));
const tokens = Number(options.tokens);
const scratch = mkdtempSync(join(tmpdir(), 'quantize-gptq-'));
const at = (name: string) => join(scratch, name);

/** Runs our command; its messages are shown when it fails. */
function ours(output: string, type: string, ...more: string[]): string {
  const common = [model, '--type', type, '-o', output, '--threads', options.threads, '--force', '--quiet'];
  const { status, stderr } = spawnSync(process.execPath, ['bin/quantize.js', ...common, ...more], {
    cwd: root,
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`quantize --type ${type} ${more.join(' ')} failed:\n${stderr}`);
  return output;
}

/**
 * Checks that two files differ in codes alone: the same tensors, each of the same type and size, and the same bytes
 * where nothing was quantized.
 */
function expectSameForm(got: Checkpoint, expected: Checkpoint): void {
  const form = ({ tensors }: Checkpoint) =>
    [...tensors.values()].map(
      ({ name, type, shape, byteLength }) => `${name} ${type} ${shape} ${byteLength}`,
    );
  const known = new Set(form(expected));
  const other = form(got).filter((line) => !known.has(line));
  if (other.length > 0 || got.tensors.size !== expected.tensors.size) {
    throw new Error(`${got.path} is not of the form of ${expected.path}:\n${other.join('\n')}`);
  }
  for (const { name, type } of got.tensors.values()) {
    if (dataTypes[type].kind === 'quantized') continue;
    if (!dataOf(got, name).equals(dataOf(expected, name)))
      throw new Error(`${got.path}: ${name} was changed`);
  }
}

function dataOf({ files, tensors }: Checkpoint, name: string): Buffer {
  const { file, offset, byteLength } = tensors.get(name)!;
  return withSource(files[file].path, (source) => source.read(offset, byteLength));
}

/**
 * A text with spaces in place of characters that the model has no token for: a SentencePiece vocabulary without byte
 * tokens, which the engine cannot tokenize other texts with.
 */
function spellable(text: string, { metadata }: Checkpoint): string {
  const find = (key: string) => metadata.find((entry) => entry.key === key)?.value;
  if (find('tokenizer.ggml.model') !== 'llama') return text;
  const known = new Set(find('tokenizer.ggml.tokens') as readonly string[]);
  if (known.has('<0x0A>')) return text;
  return Array.from(text, (character) => (known.has(character) ? character : ' ')).join('');
}

const bitsPerWeight = ({ tensors }: Checkpoint) => {
  const stored = [...tensors.values()];
  const weights = stored.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
  return (8 * stored.reduce((sum, { byteLength }) => sum + byteLength, 0)) / weights;
};

try {
  const whole = ours(at('F32.gguf'), 'F32');
  const read = (path: string) => spellable(readFileSync(path, 'utf8'), openCheckpoint(whole));
  const calibrationText = read(options.calibration);
  writeFileSync(at('calibration.txt'), calibrationText);
  const tokenizer = Llama.load(whole);
  const calibration = tokenizer.tokenize(calibrationText, { addSpecial: true });
  tokenizer.free();
  if (calibration.length < tokens) {
    throw new Error(`${options.calibration} has ${calibration.length} tokens, fewer than ${tokens}`);
  }
  const collected = collectImportance(whole, calibration.subarray(0, tokens), { context: CONTEXT });
  writeFileSync(
    at('imatrix.gguf'),
    imatrixBytes(collectedEntries(collected), ['calibration'], collected.windows),
  );
  const matrix = readImatrix(at('imatrix.gguf'));
  const importance = Object.fromEntries([...matrix.entries].map(([name, { values }]) => [name, values]));
  const text = read(options.eval);
  const reference = new ReferenceLogits(whole, text, { context: CONTEXT, windows: WINDOWS }, at('logits'));

  const gptq = [
    ...['--method', 'gptq', '--calibration', at('calibration.txt')],
    ...['--calibration-tokens', options.tokens, '--context', `${CONTEXT}`],
  ];
  const rows: string[][] = [];
  for (const type of options.types.split(',')) {
    const ftype = parseMixture(type).fileType!;
    quantizeModel(whole, at('plain.gguf'), { ftype });
    quantizeModel(whole, at('importance.gguf'), { ftype, importance });
    const yardstick = openCheckpoint(at('importance.gguf'));
    const [plain, weighted, nearest, best] = [
      at('plain.gguf'),
      at('importance.gguf'),
      ours(at('nearest.gguf'), type, ...gptq, '--rounding', 'nearest'),
      ours(at('gptq.gguf'), type, ...gptq),
    ].map((path, i): Quality => {
      if (i >= 2) expectSameForm(openCheckpoint(path), yardstick);
      return reference.compare(path);
    });
    const ratios = [nearest, best].map((quality) => divergenceRatio(quality, weighted));
    const all = [plain, weighted, nearest, best];
    rows.push([
      type,
      bitsPerWeight(yardstick).toFixed(2),
      ...all.map(({ divergence }) => divergence.toPrecision(4)),
      ratios[0].ratio.toFixed(3),
      `**${ratios[1].ratio.toFixed(3)}** ± ${ratios[1].error.toFixed(3)}`,
      `${bundled ? (targets[type] ?? 1) : 1}`,
      ...all.map(({ perplexity }) => perplexity.toFixed(3)),
    ]);
    console.log(rows.at(-1)!.join('  '));
  }
  reference.close();

  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  const four = ['llama.cpp', 'llama.cpp + importance', 'ours, nearest', 'ours, GPTQ'];
  const table = [
    `${basename(model)}: ${collected.windows * CONTEXT} calibration tokens for both sides; judged by llama.cpp v0.5.0 on`,
    `${basename(options.eval)}, context ${CONTEXT}, second halves of the first ${WINDOWS} windows. In one row all tensors have the same types`,
    `and sizes. KL is the mean divergence from F32 in nats; its ratio is to llama.cpp with importance, ± one standard`,
    `error over the windows. Perplexity of F32: ${reference.perplexity.toFixed(3)}.`,
    '',
    line([
      'type',
      'bits',
      ...four.map((name) => `KL: ${name}`),
      'nearest / importance',
      'GPTQ / importance',
      'target',
    ]),
    line(Array.from({ length: 9 }, () => '---')),
    ...rows.map((cells) => line(cells.slice(0, 9))),
    '',
    line(['type', ...four.map((name) => `perplexity: ${name}`)]),
    line(Array.from({ length: 5 }, () => '---')),
    ...rows.map((cells) => line([cells[0], ...cells.slice(9)])),
  ].join('\n');
  console.log(`\n${table}`);
  const name = options.table ?? (bundled ? 'quality' : null);
  if (name !== null) replaceTable(join(root, 'docs/gptq.md'), name, table);
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
