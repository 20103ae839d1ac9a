// Builds dist/: the kernels and the TypeScript. What tsc wrote before is removed first, so that dist never holds the
// output of a source that is gone.
import { spawnSync } from 'node:child_process';
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const dist = join(root, 'dist');

await import('./build-kernels.js');
for (const entry of readdirSync(dist)) {
  if (entry !== 'kernels') rmSync(join(dist, entry), { recursive: true });
}
const { status } = spawnSync(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', root], {
  stdio: 'inherit',
});
process.exit(status ?? 1);
