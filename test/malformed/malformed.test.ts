import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { QuantizeError } from '../../src/core/errors.ts';
import * as byteSource from '../../src/read/byte-source.ts';
import * as checkpoint from '../../src/read/checkpoint.ts';
import * as gguf from '../../src/read/gguf.ts';
import * as ggufHeader from '../../src/read/gguf-header.ts';
import * as ggufMetadata from '../../src/read/gguf-metadata.ts';
import * as ggufSplit from '../../src/read/gguf-split.ts';
import * as safetensors from '../../src/read/safetensors.ts';
import * as index from '../../src/read/safetensors-index.ts';
import * as strictJson from '../../src/read/strict-json.ts';

interface Case {
  path: string;
  how: string;
  error: string;
  tensor?: string;
}

const root = fileURLToPath(new URL('../..', import.meta.url));
const directory = mkdtempSync(join(tmpdir(), 'malformed-'));
afterAll(() => rmSync(directory, { recursive: true }));
execFileSync(process.execPath, [join(root, 'scripts/make-malformed.js'), directory]);
const cases = JSON.parse(readFileSync(join(directory, 'manifest.json'), 'utf8')) as Case[];

function errorOf(path: string): unknown {
  try {
    checkpoint.openCheckpoint(path);
  } catch (error) {
    return error;
  }
  return undefined;
}

describe('malformed files end in their own error', () => {
  it.each(cases)('$path: $how', ({ path, error: expected, tensor }) => {
    const error = errorOf(join(directory, path));
    if (!(error instanceof QuantizeError)) throw error ?? new Error('accepted');
    expect(error.name).toBe(expected);
    expect(error.exitCode).toBe(1);
    // The file at fault, which may lie beside or below the path that was opened.
    expect(error.details.file).toContain(
      path.includes('/') ? dirname(join(directory, path)) : join(directory, path),
    );
    expect(error.message).toContain(error.details.file);
    expect(error.details.tensor).toBe(tensor);
    expect(error.message.length).toBeLessThan(2000);
    expect(error.details.got ?? error.details.expected ?? error.details.advice).toBeDefined();
  });

  it('and every error class of the reader has its file', () => {
    const ggufs = [gguf, ggufHeader, ggufMetadata, ggufSplit];
    const modules = [byteSource, checkpoint, ...ggufs, safetensors, index, strictJson];
    const classes = modules
      .flatMap((module) => Object.values(module) as unknown[])
      .filter((value) => typeof value === 'function' && value.prototype instanceof QuantizeError)
      .map((value) => (value as { name: string }).name);
    const shown = new Set(cases.map(({ error }) => error));
    // A file that shrinks while it is read cannot be made beforehand: byte-source.test.ts shows it.
    expect(classes.filter((name) => !shown.has(name))).toEqual(['ShortReadError']);
    expect(new Set(cases.map(({ path }) => path)).size).toBe(cases.length);
  });
});

it('each takes less than a second, and all together less than 200 MB', () => {
  const probe = fileURLToPath(new URL('probe.js', import.meta.url));
  const output = execFileSync(process.execPath, [probe, directory], { encoding: 'utf8', timeout: 50_000 });
  const { milliseconds, peak } = JSON.parse(output) as { milliseconds: Record<string, number>; peak: number };
  expect(Object.keys(milliseconds)).toEqual(cases.map(({ path }) => path));
  expect(Object.entries(milliseconds).filter(([, ms]) => ms >= 1000)).toEqual([]);
  expect(peak).toBeLessThan(200e6);
});
