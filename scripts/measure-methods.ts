// What each method costs the bundled model at each width: weights, outputs, predictions, with activations as they are and
// quantized, by our own forward pass and by the real engine. Writes docs/methods.md.
//
//   npm run quality:methods              (Node 24, which runs TypeScript)
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Report } from '../src/report/report.ts';
import { ReferenceLogits } from './reference-logits.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const model = join(root, 'fixtures/sotu-3m');
const text = join(root, 'fixtures/text/eval.txt');
const scratch = mkdtempSync(join(tmpdir(), 'quantize-methods-'));
const at = (name: string) => join(scratch, name);
const WINDOWS = 50;

/** The options of each row. */
const schemes = [
  '--type F32',
  '--method absmax --bits 8',
  '--method absmax --bits 8 --granularity channel',
  '--method absmax --bits 8 --granularity tensor',
  '--method absmax --bits 5',
  '--method absmax --bits 4',
  '--method absmax --bits 4 --range mse',
  '--method absmax --bits 4 --granularity channel --range mse',
  '--method absmax --bits 4 --granularity channel --range entropy',
  '--method absmax --bits 4 --granularity channel --range percentile=99.9',
  '--method zero-point --bits 8',
  '--method zero-point --bits 5',
  '--method zero-point --bits 4',
  '--method zero-point --bits 4 --range mse',
  '--method zero-point --bits 2 --range mse',
  ...[8, 6, 5, 4, 3, 2].map((bits) => `--method kquant --bits ${bits}`),
  ...[6, 5, 4, 3, 2].map((bits) => `--method gptq --bits ${bits}`),
  '--method gptq --type TQ2_0',
  '--method ternary',
  '--method ternary --granularity block',
  '--method binary',
];

/** Schemes of activations, as `quantize eval` names them. */
const activations = ['dynamic-block', 'dynamic', 'static:mse', 'dynamic:4'];

interface Evaluated {
  readonly evaluation: {
    readonly perplexity: number;
    readonly base: { readonly divergence: { readonly mean: number } };
    readonly activations: readonly Evaluated['evaluation'][];
    readonly layers: readonly { readonly weightsOnly: number }[];
  };
}

function run(...command: string[]): string {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['bin/quantize.js', ...command], {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  if (status !== 0) throw new Error(`${command.join(' ')} failed:\n${stderr}`);
  return stdout;
}

const short = (value: number): string =>
  value === 0 ? '0' : value < 0.001 ? value.toExponential(1) : value.toPrecision(2);
const geometricMean = (values: readonly number[]): number =>
  values.some((value) => value === 0)
    ? 0
    : Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);

try {
  run(model, '--type', 'F32', '-o', at('F32.gguf'), '--quiet');
  run('calibrate', model, '-o', at('stats.json'), '--context', '256', '--tokens', '32768', '--quiet');
  const windows = { windows: WINDOWS };
  const reference = new ReferenceLogits(at('F32.gguf'), readFileSync(text, 'utf8'), windows, at('logits'));
  const rows: string[] = [];
  let furthest = 0;
  for (const scheme of schemes) {
    const file = at('out.gguf');
    const report = at('report.json');
    const context = scheme.includes('gptq') ? ['--context', '256'] : [];
    run(model, ...scheme.split(' '), ...context, '-o', file, '--report', report, '--force', '--quiet');
    const { model: facts } = JSON.parse(readFileSync(report, 'utf8')) as Report;
    const shown = [`\`${scheme.replace('--method ', '')}\``, facts.bitsPerWeight.toFixed(2)];
    if (!facts.runnable) {
      rows.push(`| ${[...shown, short(facts.metrics.relativeError ?? 0)].join(' | ')} | | | | | | | | |`);
      continue;
    }
    const { evaluation } = JSON.parse(
      run(
        ...['eval', file, '--base', model, '--text', text, '--context', '256', '--windows', String(WINDOWS)],
        ...activations.flatMap((each) => ['--activations', each]),
        ...['--stats', at('stats.json'), '--layers', '--json', '--quiet'],
      ),
    ) as Evaluated;
    const [asEngine, ...others] = evaluation.activations;
    const { perplexity } = reference.compare(file);
    const off = asEngine.perplexity / perplexity - 1;
    furthest = Math.max(furthest, Math.abs(off));
    const kl = (each: Evaluated['evaluation']) => short(each.base.divergence.mean);
    rows.push(
      `| ${[
        ...shown,
        short(facts.metrics.relativeError ?? 0),
        short(geometricMean(evaluation.layers.map(({ weightsOnly }) => weightsOnly))),
        evaluation.perplexity.toFixed(3),
        kl(evaluation),
        asEngine.perplexity.toFixed(3),
        perplexity.toFixed(3),
        ...others.map(kl),
      ].join(' | ')} |`,
    );
    console.log(rows.at(-1));
  }
  reference.close();
  if (furthest > 0.005) throw new Error(`our perplexity is ${100 * furthest} % off the engine's`);

  writeFileSync(
    join(root, 'docs/methods.md'),
    [
      '# What each method costs',
      '',
      'The bundled model (3.7 M parameters) on fixtures/text/eval.txt, which it never saw: context 256, the second halves of the',
      `first ${WINDOWS} windows. Made by \`npm run quality:methods\`. Tiny models lose more than large ones; read the order.`,
      '',
      '* **weights**: ||W - Q||^2 / ||W||^2 over all tensors, the unquantized included.',
      "* **outputs**: ||X W^T - X Q^T||^2 / ||X W^T||^2 with the float model's inputs X, geometric mean over all matrices.",
      '* **perplexity, KL**: by our forward pass (`quantize eval`), activations in float32: W4A16 and its like. KL from F32, in nats.',
      '* **A8 as the engine**: the same with activations in blocks of 8 bits, as llama.cpp has them on a CPU, and its own',
      `  perplexity beside it: they are never more than ${(100 * furthest).toFixed(2)} % apart.`,
      '* **KL at A8, A8 static, A4**: activations in 8 bits a token; in 8 bits by ranges from a calibration text (mse); in 4 bits',
      '  a token. So a row is W4A16, W4A8 and W4A4 side by side.',
      '',
      '| method | bits | weights | outputs | perplexity | KL | A8 as the engine | the engine | KL at A8 | KL at A8 static | KL at A4 |',
      '|---|---|---|---|---|---|---|---|---|---|---|',
      ...rows,
      '',
      '8-bit zero-point has no type that the engine or our forward pass runs.',
      '',
    ].join('\n'),
  );
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
