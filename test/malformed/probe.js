// Opens every file of a malformed corpus with the built reader, in one process whose memory nothing else shares.
// Prints, as JSON, the milliseconds of each and the process's peak memory in bytes.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { openCheckpoint } from '../../dist/read/checkpoint.js';

const directory = process.argv[2];
const manifest = JSON.parse(readFileSync(join(directory, 'manifest.json'), 'utf8'));
const milliseconds = {};
for (const { path } of manifest) {
  const start = performance.now();
  try {
    openCheckpoint(join(directory, path));
  } catch {
    // Which error it is, another test says.
  }
  milliseconds[path] = performance.now() - start;
}
console.log(JSON.stringify({ milliseconds, peak: process.resourceUsage().maxRSS * 1024 }));
