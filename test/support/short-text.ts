import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { repository } from './checkpoints.ts';
import { put } from './temporary.ts';

/**
 * The beginning of fixtures/text/eval.txt, enough for so many tokens of the bundled model. All of a text is split into
 * tokens before its windows are chosen: of the whole one that takes us most of a second, and llama.cpp several.
 */
export const evalText = (tokens: number): string =>
  readFileSync(join(repository, 'fixtures/text/eval.txt'), 'utf8').slice(0, 8 * tokens);

/** Writes it into a directory and returns its path. */
export const shortText = (directory: string, tokens: number): string =>
  put(directory, `text-${tokens}.txt`, evalText(tokens));
