import { join } from 'node:path';
import { type QuantizeOptions, quantize, type RunResult } from '../../src/pipeline.ts';
import { repository } from './checkpoints.ts';
import { temporaryDirectory } from './temporary.ts';

/** The bundled model: a real Llama of 3.7M parameters whose every row is a multiple of 256. */
export const sotu = join(repository, 'fixtures/sotu-3m');

export interface Conversion {
  readonly path: string;
  readonly result: RunResult;
}

/**
 * Runs the whole pipeline on a model, by one thread unless told (starting another takes as long as the work of one), into
 * files that last as long as the tests of the file that asks. Equal options give the same file, made once.
 */
export function conversions(input: string): (options: Partial<QuantizeOptions>) => Promise<Conversion> {
  const directory = temporaryDirectory();
  const made = new Map<string, Promise<Conversion>>();
  const make = async (options: Partial<QuantizeOptions>): Promise<Conversion> => {
    const path = join(directory, `${made.size}.gguf`);
    return { path, result: await quantize({ input, output: path, threads: 1, ...options }) };
  };
  return (options) => {
    const key = JSON.stringify(options);
    const found = made.get(key) ?? make(options);
    made.set(key, found);
    return found;
  };
}
