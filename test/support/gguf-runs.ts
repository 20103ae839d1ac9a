import { closeSync, existsSync, openSync, readFileSync, readSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { Checkpoint, StoredTensor } from '../../src/core/checkpoint.ts';
import type { MetadataEntry } from '../../src/core/metadata.ts';
import { type QuantizeOptions, quantize } from '../../src/pipeline.ts';
import { openCheckpoint } from '../../src/read/checkpoint.ts';
import { type QuantizeOptions as EngineOptions, quantizeModel } from '../engine/quantize.ts';
import { repository } from './checkpoints.ts';
import { ggufBytes } from './gguf-writer.ts';

/** Runs of the pipeline on GGUF files, beside llama-quantize's of the same. */
export class GgufRuns {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  at(name: string): string {
    return join(this.#directory, name);
  }

  /** A checkpoint of the repository, or beside it, as a GGUF of our own; made once. */
  async converted(model: string, type: string): Promise<string> {
    const output = this.at(`${model.replaceAll('/', '_')}-${type}.gguf`);
    if (!existsSync(output)) await quantize({ input: join(repository, model), output, type, threads: 1 });
    return output;
  }

  /** What the pipeline makes, by one thread unless told: starting another takes as long as the work of one. */
  async ours(input: string, options: Omit<QuantizeOptions, 'input'>): Promise<Buffer> {
    const output = this.at('ours.gguf');
    await quantize({ threads: 1, output, ...options, input });
    return taken(options.output ?? output);
  }

  /** What llama-quantize makes. */
  theirs(input: string, options: EngineOptions): Buffer {
    const output = this.at('theirs.gguf');
    quantizeModel(input, output, { threads: 2, ...options });
    return taken(output);
  }

  async expectSame(
    input: string,
    options: Omit<QuantizeOptions, 'input'>,
    engine: EngineOptions,
    engineInput = input,
  ): Promise<void> {
    const theirs = this.theirs(engineInput, engine);
    const ours = await this.ours(input, options);
    expect(ours.length).toBe(theirs.length);
    expect(ours.equals(theirs)).toBe(true);
  }

  /** A GGUF in parts of so many tensors each, named and numbered as llama-gguf-split does; paths in order. */
  split(input: string, name: string, sizes: readonly number[]): string[] {
    const checkpoint = openCheckpoint(input);
    const tensors = [...checkpoint.tensors.values()];
    let next = 0;
    return sizes.map((size, i) => {
      const numbers: MetadataEntry[] = [
        { key: 'split.no', type: 'UINT16', value: i },
        { key: 'split.count', type: 'UINT16', value: sizes.length },
        { key: 'split.tensors.count', type: 'INT32', value: tensors.length },
      ];
      const five = (n: number) => String(n).padStart(5, '0');
      const path = this.at(`${name}-${five(i + 1)}-of-${five(sizes.length)}.gguf`);
      const held = tensors.slice(next, (next += size)).map((tensor) => ({
        ...tensor,
        data: dataOf(checkpoint, tensor),
      }));
      writeFileSync(path, ggufBytes(i === 0 ? [...checkpoint.metadata, ...numbers] : numbers, held));
      return path;
    });
  }

  /** A GGUF written anew with other metadata, or other tensors. */
  rewritten(
    input: string,
    name: string,
    change: (checkpoint: Checkpoint) => Partial<Pick<Checkpoint, 'metadata' | 'tensors'>>,
    alignment = 32,
  ): string {
    const checkpoint = openCheckpoint(input);
    const { metadata, tensors } = { ...checkpoint, ...change(checkpoint) };
    const held = [...tensors.values()].map((tensor) => ({ ...tensor, data: dataOf(checkpoint, tensor) }));
    const path = this.at(name);
    writeFileSync(path, ggufBytes(metadata, held, { alignment }));
    return path;
  }
}

/** Bytes of a tensor as stored. */
export function dataOf({ files }: Checkpoint, { file, offset, byteLength }: StoredTensor): Buffer {
  const bytes = Buffer.alloc(byteLength);
  const descriptor = openSync(files[file].path, 'r');
  readSync(descriptor, bytes, 0, byteLength, offset);
  closeSync(descriptor);
  return bytes;
}

function taken(path: string): Buffer {
  const bytes = readFileSync(path);
  rmSync(path);
  return bytes;
}
