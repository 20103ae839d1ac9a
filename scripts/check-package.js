// Packs the package as npm would publish it, checks that it holds what a user needs and nothing else, installs it
// in an empty folder, runs the main job there through npx and imports the library.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
// Code and the types of its public functions, the calibration text, documents that README links to, nothing else.
const expected = [
  /^bin\/quantize\.js$/,
  /^dist\/[\w/.-]+\.(js|d\.ts|wasm)$/,
  /^data\/(calibration\.txt|README\.md)$/,
  /^docs\/[\w.-]+\.(md|json|png)$/,
  /^(package\.json|README\.md|ARCHITECTURE\.md|LICENSE|CHANGELOG\.md)$/,
];
const folder = mkdtempSync(join(tmpdir(), 'quantize-package-'));
const run = (command, args, cwd = folder) => execFileSync(command, args, { cwd, encoding: 'utf8' });

try {
  const [{ filename, files, size }] = JSON.parse(
    run('npm', ['pack', '--json', '--pack-destination', folder], root).replace(/^[^[]*(?=\[\s*\{)/, ''),
  );
  const unexpected = files
    .map(({ path }) => path)
    .filter((path) => !expected.some((pattern) => pattern.test(path)));
  if (unexpected.length > 0) throw new Error(`the package holds ${unexpected.join(', ')}`);
  const needed = [
    'bin/quantize.js',
    'data/calibration.txt',
    'dist/cli/main.js',
    'dist/quantize/worker.js',
    'dist/kernels/kernels.wasm',
  ];
  const missing = needed.filter((path) => !files.some((file) => file.path === path));
  if (missing.length > 0) throw new Error(`the package lacks ${missing.join(', ')}`);

  writeFileSync(join(folder, 'package.json'), '{"private": true}');
  run('npm', ['install', '--no-audit', '--no-fund', '--omit=dev', join(folder, filename)]);
  const model = join(root, 'fixtures/sotu-3m');
  run('npx', ['quantize', model, '--type', 'Q4_K_M', '--quiet']);
  const output = join(folder, 'sotu-3m-Q4_K_M.gguf');
  if (!existsSync(output) || readFileSync(output).subarray(0, 4).toString() !== 'GGUF') {
    throw new Error('npx quantize made no GGUF file');
  }
  const types = run(process.execPath, [
    '--input-type=module',
    '-e',
    "import('gguf-quantize').then(({ ggmlTypes }) => console.log(ggmlTypes.Q4_K.ggmlId))",
  ]);
  if (types.trim() !== '12') throw new Error(`the library says ${types}`);
  const installed = run('du', ['-sk', 'node_modules']).split('\t')[0];
  console.log(
    `package: ${files.length} files, ${(size / 1024).toFixed(0)} KiB packed; installed ${installed} KiB`,
  );
} finally {
  rmSync(folder, { recursive: true, force: true });
}
