import { createHash } from 'node:crypto';
import type { ChunkTarget, EncodedChunk } from '../core/output.ts';
import type { Layout } from './gguf.ts';
import { PartialFile } from './partial-file.ts';
import { OutputStream } from './stream.ts';
import type { OutputTarget } from './target.ts';

/** The output of a run, whatever it is made of. */
export interface Output {
  /** How workers hand over chunks. */
  readonly target: ChunkTarget;
  /** Takes a chunk; the calls come in no particular order. */
  take(chunk: EncodedChunk): void;
  /** After every chunk was taken: resolves when the output is whole. */
  finish(): Promise<void>;
  /** After a failure: keeps what an interrupted run keeps. */
  abandon(): Promise<void>;
}

export interface OutputOptions {
  readonly layout: Layout;
  /** Weights in a chunk, for the journal. */
  readonly chunk: number;
  /** Encoded bytes of the largest chunk, and how many may wait to be emitted. */
  readonly slotBytes: number;
  readonly slots: number;
  /** A stream has emitted this many chunks, so that many slots are free again. */
  onEmitted(count: number): void;
  /** A stream broke; no chunk will be emitted any more. */
  onError(error: unknown): void;
}

/** Opens the output and writes the header. */
export async function openOutput(target: OutputTarget, options: OutputOptions): Promise<Output> {
  return target.kind === 'file' ? fileOutput(target.path, options) : streamOutput(target.path, options);
}

function fileOutput(path: string, { layout, chunk }: OutputOptions): Output {
  const partial = new PartialFile(path, {
    header: layout.header,
    headerSha256: createHash('sha256').update(layout.header).digest('hex'),
    fileBytes: layout.fileBytes,
    chunk,
  });
  return {
    target: { kind: 'file', path: partial.path },
    take: ({ number }) => partial.chunkFinished(number),
    finish: async () => partial.finish(),
    abandon: async () => partial.saveJournal(),
  };
}

async function streamOutput(path: string, options: OutputOptions): Promise<Output> {
  const { layout, slotBytes, slots } = options;
  const stream = await OutputStream.open(path);
  const window = new Uint8Array(new SharedArrayBuffer(slotBytes * slots));
  const waiting = new Map<number, EncodedChunk>();
  let emitted = 0;
  let position = 0;
  let failed = false;

  const padTo = async (offset: number) => {
    if (offset > position) await stream.write(new Uint8Array(offset - position));
    position = offset;
  };

  /** Emits every chunk that is next in order; one call runs at a time. */
  const pump = async () => {
    for (let chunk = waiting.get(emitted); chunk && !failed; chunk = waiting.get(emitted)) {
      waiting.delete(emitted);
      await padTo(chunk.offset);
      const slot = (chunk.number % slots) * slotBytes;
      // fs.write does not take shared memory, hence the one copy.
      await stream.write(window.slice(slot, slot + chunk.byteLength));
      position += chunk.byteLength;
      options.onEmitted(++emitted);
    }
  };
  let pumping = Promise.resolve();
  const schedule = (work: () => Promise<void>) => {
    pumping = pumping.then(work).catch((error) => {
      failed = true;
      options.onError(error);
    });
  };

  schedule(async () => {
    await stream.write(layout.header);
    position = layout.header.length;
  });
  return {
    target: { kind: 'window', window, slotBytes },
    take(chunk) {
      waiting.set(chunk.number, chunk);
      schedule(pump);
    },
    async finish() {
      schedule(() => padTo(layout.fileBytes));
      await pumping;
      await stream.close();
    },
    abandon: () => stream.close(),
  };
}
