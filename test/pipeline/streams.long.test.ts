import { execFileSync, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { offeredSchemes, schemeName } from '../../scripts/golden/schemes.js';
import { planQuantization, quantize } from '../../src/pipeline.ts';
import { mixtures } from '../../src/plan/mixtures.ts';
import { methods } from '../../src/plan/presets.ts';
import { hashOfStream } from '../support/cli.ts';
import { conversions, sotu } from '../support/conversions.ts';
import { sha256 } from '../support/golden.ts';
import { temporaryDirectory } from '../support/temporary.ts';

/** Every output this version can make of the bundled model, in order through a pipe: the bytes of the file. */

const convert = conversions(sotu);
const schemes = offeredSchemes({ mixtures, methods, planQuantization }, sotu);

it.each(schemes.map((scheme) => [schemeName(scheme), scheme] as const))('%s', async (_name, scheme) => {
  const { path } = await convert(scheme);
  const fifo = join(temporaryDirectory(), 'fifo');
  execFileSync('mkfifo', [fifo]);
  const reader = spawn('cat', [fifo]);
  const [hash, result] = await Promise.all([
    hashOfStream(reader.stdout),
    quantize({ input: sotu, output: fifo, threads: 3, chunkSize: 32_768, ...scheme }),
  ]);
  expect(hash).toBe(sha256(readFileSync(path)));
  expect(result.output).toBe(fifo);
});
