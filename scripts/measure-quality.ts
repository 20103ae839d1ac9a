// What each type costs the bundled model, in the real engine: file size, perplexity, KL divergence from F32, and the
// time that this package and llama-quantize take. Writes docs/quality.md.
//
//   npm run quality                      (Node 24, which runs TypeScript)
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { elementsOf } from '../src/core/types.ts';
import { mixtures, uniformTypes } from '../src/plan/mixtures.ts';
import { openCheckpoint } from '../src/read/checkpoint.ts';
import { ReferenceLogits } from './reference-logits.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const model = join(root, 'fixtures/sotu-3m');
const scratch = mkdtempSync(join(tmpdir(), 'quantize-quality-'));
const text = readFileSync(join(root, 'fixtures/text/eval.txt'), 'utf8');
const weights = [...openCheckpoint(model).tensors.values()].reduce(
  (sum, { shape }) => sum + elementsOf(shape),
  0,
);
const WINDOWS = 100;
/** Tokens of calibration text for the types that need importances. */
const CALIBRATION = 128_000;

function run(command: string[]): number | null {
  const started = performance.now();
  const { status } = spawnSync(process.execPath, command, { cwd: root });
  return status === 0 ? (performance.now() - started) / 1000 : null;
}

try {
  const convert = (type: string, output: string, ...more: string[]) =>
    run([
      'bin/quantize.js',
      model,
      '--type',
      type,
      '-o',
      output,
      '--threads',
      '2',
      '--force',
      '--quiet',
      ...more,
    ]);
  const whole = join(scratch, 'BF16.gguf');
  const exact = join(scratch, 'F32.gguf');
  convert('BF16', whole);
  convert('F32', exact);
  // Some types need importances.
  const imatrix = join(scratch, 'imatrix.gguf');
  const calibration = ['--text', join(root, 'data/calibration.txt'), '--tokens', `${CALIBRATION}`];
  const collect = ['bin/quantize.js', 'imatrix', model, '-o', imatrix, '--context', '256', ...calibration];
  if (run(collect) === null) throw new Error(`${collect.join(' ')} failed`);
  const reference = new ReferenceLogits(exact, text, { windows: WINDOWS }, join(scratch, 'logits'));

  const rows: string[] = [];
  for (const { name, fileType, uniform: ourOwn } of Object.values({ ...mixtures, ...uniformTypes })) {
    const output = join(scratch, `${name}.gguf`);
    const alone = convert(name, output);
    const ours = alone ?? convert(name, output, '--imatrix', imatrix);
    const theirs =
      ourOwn || alone === null
        ? null
        : run(['bench/llama-quantize.js', whole, String(fileType), join(scratch, 'theirs.gguf'), '2']);
    const { perplexity, divergence } = reference.compare(output);
    const bits = (statSync(output).size * 8) / weights;
    const seconds = (value: number | null) => (value === null ? '' : value.toFixed(2));
    rows.push(
      `| ${name}${alone === null ? ' *' : ''} | ${bits.toFixed(2)} | ${perplexity.toFixed(3)} | ${divergence.toExponential(2)} | ${seconds(ours)} | ${seconds(theirs)} |`,
    );
    console.log(rows.at(-1));
  }
  reference.close();

  writeFileSync(
    join(root, 'docs/quality.md'),
    [
      '# What each type costs',
      '',
      `The bundled model (3.7 M parameters, trained on public-domain prose) in llama.cpp v0.5.0, on fixtures/text/eval.txt,`,
      `which it never saw: context 256, the second halves of the first ${WINDOWS} windows. Made by \`npm run quality\`.`,
      'Tiny models lose more than large ones; read the order, not the numbers.',
      '',
      'Bits are those of the whole file, vocabulary included. KL is the mean Kullback-Leibler divergence of the next-token',
      'distributions from those of F32, in nats. Seconds are those of one whole process on two threads, taken once: ours',
      'from safetensors with the error report, llama-quantize from the BF16 GGUF. On so small a model both are mostly',
      'start-up; README has the benchmark.',
      '',
      '| `--type` | bits per weight | perplexity | KL | ours, s | llama-quantize, s |',
      '|---|---|---|---|---|---|',
      ...rows,
      '',
      `\`*\`: needs an importance matrix, and was given one that \`quantize imatrix\` made of ${CALIBRATION} tokens of the text the`,
      'model was trained on. The other rows are without; docs/gptq.md shows what importance and GPTQ gain there.',
      '',
    ].join('\n'),
  );
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
