// Makes `npx quantize` work in a clone as it does where the package is installed: npm links the commands of
// dependencies into node_modules/.bin, but not those of the package itself, and npx would look the name up in the
// registry. Runs after `npm ci` (prepare). Not on Windows, where commands are no links: use node bin/quantize.js.
import { existsSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const commands = fileURLToPath(new URL('../node_modules/.bin', import.meta.url));
if (process.platform !== 'win32' && existsSync(commands)) {
  const link = join(commands, 'quantize');
  rmSync(link, { force: true });
  symlinkSync('../../bin/quantize.js', link);
}
