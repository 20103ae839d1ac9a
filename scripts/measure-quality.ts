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
import { planQuantization } from '../src/pipeline.ts';
import { mixtures, uniformTypes } from '../src/plan/mixtures.ts';
import { openCheckpoint } from '../src/read/checkpoint.ts';
import { divergence, Llama } from '../test/engine/llama.ts';
import { imatrixBytes } from '../test/support/imatrix-writer.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const model = join(root, 'fixtures/sotu-3m');
const scratch = mkdtempSync(join(tmpdir(), 'quantize-quality-'));
const text = readFileSync(join(root, 'fixtures/text/eval.txt'), 'utf8');
const weights = [...openCheckpoint(model).tensors.values()].reduce(
  (sum, { shape }) => sum + elementsOf(shape),
  0,
);
const WINDOWS = 100;
const KL_WINDOWS = 25;

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
  // Some types need importances: here 1 for every column, which is no knowledge of the model.
  const uniform = join(scratch, 'uniform.gguf');
  const matrices = planQuantization({ input: model, type: 'F32' }).plan.tensors.filter(
    ({ shape }) => shape.length > 1,
  );
  const entries = matrices.map(({ name, shape }) => ({
    name,
    sums: new Float32Array(shape[0]).fill(1),
    counts: [1],
  }));
  writeFileSync(uniform, imatrixBytes(entries, ['none: 1 for every column'], 1));
  const whole = join(scratch, 'BF16.gguf');
  const exact = join(scratch, 'F32.gguf');
  convert('BF16', whole);
  convert('F32', exact);
  const reference = Llama.load(exact);
  const tokens = reference.tokenize(text);

  const rows: string[] = [];
  for (const { name, fileType, uniform: ourOwn } of Object.values({ ...mixtures, ...uniformTypes })) {
    const output = join(scratch, `${name}.gguf`);
    const alone = convert(name, output);
    const ours = alone ?? convert(name, output, '--imatrix', uniform);
    const theirs =
      ourOwn || alone === null
        ? null
        : run(['bench/llama-quantize.js', whole, String(fileType), join(scratch, 'theirs.gguf'), '2']);
    const llama = Llama.load(output);
    const perplexity = llama.perplexity(tokens, { windows: WINDOWS });
    const kl = divergence(reference, llama, tokens, { windows: KL_WINDOWS });
    llama.free();
    const bits = (statSync(output).size * 8) / weights;
    const seconds = (value: number | null) => (value === null ? '' : value.toFixed(2));
    rows.push(
      `| ${name}${alone === null ? ' *' : ''} | ${bits.toFixed(2)} | ${perplexity.toFixed(3)} | ${kl.toExponential(2)} | ${seconds(ours)} | ${seconds(theirs)} |`,
    );
    console.log(rows.at(-1));
  }
  reference.free();

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
      `distributions from those of F32, in nats, over the first ${KL_WINDOWS} windows. Seconds are those of one whole process`,
      'on two threads, taken once: ours from safetensors with the error report, llama-quantize from the BF16 GGUF. On so',
      'small a model both are mostly start-up; README has the benchmark.',
      '',
      '| `--type` | bits per weight | perplexity | KL | ours, s | llama-quantize, s |',
      '|---|---|---|---|---|---|',
      ...rows,
      '',
      '`*`: needs an importance matrix, and was given one that says 1 for every column. A real one makes it better.',
      '',
    ].join('\n'),
  );
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
