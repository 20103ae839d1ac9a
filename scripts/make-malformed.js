// Writes a corpus of hostile and damaged model files, with a manifest.json that says of each how it was made and
// which error the reader must end in. Deterministic. Usage: node scripts/make-malformed.js DIRECTORY
import { execFileSync } from 'node:child_process';
import { mkdirSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ggufCases } from './malformed/gguf.js';
import { splitCases } from './malformed/gguf-split.js';
import { safetensorsCases } from './malformed/safetensors.js';
import { shardCases } from './malformed/shards.js';

/**
 * A case: `path` is what the reader is asked to open; `files` are the files to write, by path: bytes, or
 * { sparse: SIZE, bytes } for a file extended with zeros that take no room on disk, { link: TARGET }, { pipe: true }
 * or { directory: true }. `error` is the class that must be thrown, `tensor` the name its message must give.
 */
const cases = [...safetensorsCases, ...shardCases, ...ggufCases, ...splitCases];

export function writeMalformed(directory) {
  for (const { files } of cases) {
    for (const [name, content] of Object.entries(files)) {
      const path = join(directory, name);
      mkdirSync(content.directory ? path : dirname(path), { recursive: true });
      if (content.link !== undefined) symlinkSync(content.link, path);
      else if (content.pipe) execFileSync('mkfifo', [path]);
      else if (!content.directory) {
        writeFileSync(path, content.bytes ?? content);
        if (content.sparse !== undefined) truncateSync(path, content.sparse);
      }
    }
  }
  const manifest = cases.map(({ files, ...expectation }) => expectation);
  writeFileSync(join(directory, 'manifest.json'), `${JSON.stringify(manifest, null, 2)}\n`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (process.argv.length !== 3) {
    console.error('usage: node scripts/make-malformed.js DIRECTORY');
    process.exit(2);
  }
  writeMalformed(process.argv[2]);
}
