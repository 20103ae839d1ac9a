import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, onTestFinished } from 'vitest';

/** A fresh directory. It lasts as long as the test that asks for it, or outside of tests as the tests of the file. */
export function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'quantize-test-'));
  const remove = () => rmSync(directory, { recursive: true, force: true });
  (expect.getState().currentTestName === undefined ? afterAll : onTestFinished)(remove);
  return directory;
}

/** Writes a file into a directory and returns its path. */
export function put(directory: string, name: string, content: string | Uint8Array): string {
  const path = join(directory, name);
  writeFileSync(path, content);
  return path;
}
