// Compiles src/kernels (AssemblyScript) to dist/kernels/kernels.wasm. Skipped when the module is newer than
// every source, so that `npm test` does not pay for it each time.
import { mkdirSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const sources = join(root, 'src/kernels');
const output = join(root, 'dist/kernels/kernels.wasm');

const modified = (path) => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
const newestSource = Math.max(
  modified(fileURLToPath(import.meta.url)),
  modified(join(root, 'src/core/codebooks.ts')),
  ...readdirSync(sources, { recursive: true })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => modified(join(sources, name))),
);

if (modified(output) < newestSource) {
  const { main } = await import('assemblyscript/asc');
  mkdirSync(join(root, 'dist/kernels'), { recursive: true });
  const { error } = await main(
    [
      'src/kernels/index.ts',
      '--outFile',
      'dist/kernels/kernels.wasm',
      '--runtime',
      'stub',
      '--enable',
      'simd',
      '-O3',
      '--noAssert',
      '--converge',
    ],
    { stdout: process.stdout, stderr: process.stderr },
  );
  if (error) {
    console.error(error.message);
    process.exit(1);
  }
}
