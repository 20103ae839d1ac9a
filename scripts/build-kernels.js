// Compiles src/kernels (AssemblyScript) to dist/kernels: kernels.wasm (quantization, each thread its own memory),
// compute.wasm (calibration, all threads one shared memory) and compute-relaxed.wasm (the same source with relaxed SIMD, of
// which only matrix products make use). A module that is newer than every source is left alone, so that `npm test` does not
// pay for it each time.
import { mkdirSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const sources = join(root, 'src/kernels');

const modified = (path) => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
const newestSource = Math.max(
  modified(fileURLToPath(import.meta.url)),
  modified(join(root, 'src/core/codebooks.ts')),
  ...readdirSync(sources, { recursive: true })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => modified(join(sources, name))),
);

const SHARED = ['--importMemory', '--sharedMemory', '--maximumMemory', '65536', '--enable', 'threads'];
await compile('src/kernels/index.ts', 'kernels.wasm', []);
await compile('src/kernels/compute/index.ts', 'compute.wasm', SHARED);
await compile('src/kernels/compute/index.ts', 'compute-relaxed.wasm', [
  ...SHARED,
  '--enable',
  'relaxed-simd',
]);

async function compile(entry, name, options) {
  const output = join(root, 'dist/kernels', name);
  if (modified(output) >= newestSource) return;
  const { main } = await import('assemblyscript/asc');
  mkdirSync(join(root, 'dist/kernels'), { recursive: true });
  const common = ['--runtime', 'stub', '--enable', 'simd', '-O3', '--noAssert', '--converge'];
  const { error } = await main([entry, '--outFile', `dist/kernels/${name}`, ...common, ...options], {
    stdout: process.stdout,
    stderr: process.stderr,
  });
  if (error) {
    console.error(error.message);
    process.exit(1);
  }
}
