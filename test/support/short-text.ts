import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { repository } from './checkpoints.ts';
import { put } from './temporary.ts';

/**
 * Writes the beginning of fixtures/text/eval.txt into a directory and returns its path: enough for so many tokens of the
 * bundled model. All of a text is read before its windows are chosen, and the bundled one takes most of a second.
 */
export function shortText(directory: string, tokens: number): string {
  const text = readFileSync(join(repository, 'fixtures/text/eval.txt'), 'utf8');
  return put(directory, `text-${tokens}.txt`, text.slice(0, 8 * tokens));
}
