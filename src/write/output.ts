import type { ChunkTarget, EncodedChunk, TensorProgress } from '../core/output.ts';
import type { Layout } from './gguf.ts';
import { PartialFiles } from './partial-file.ts';
import { type ResumeKey, sha256 } from './resume-key.ts';
import { OutputStream } from './stream.ts';
import type { OutputTargets } from './target.ts';

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
  /** What identifies the job, for runs that resume. */
  readonly key: Omit<ResumeKey, 'headerSha256'>;
  /** Go on with what an earlier run left, if it left anything; `progress` then says what that is. */
  readonly resume: boolean;
  /** Of each tensor of the files, in order, kept up to date by the quantize stage. */
  readonly progress: readonly TensorProgress[];
  /** Encoded bytes of the largest chunk, and how many may wait to be emitted. */
  readonly slotBytes: number;
  readonly slots: number;
  /** A stream has emitted this many chunks, so that many slots are free again. */
  onEmitted(count: number): void;
  /** A stream broke; no chunk will be emitted any more. */
  onError(error: unknown): void;
}

/** Opens the output and writes the headers. */
export async function openOutput(targets: OutputTargets, options: OutputOptions): Promise<Output> {
  return targets.kind === 'files' ? fileOutput(targets.paths, options) : streamOutput(targets.path, options);
}

function fileOutput(paths: readonly string[], { layout, key, progress, resume }: OutputOptions): Output {
  const [{ first: start }] = layout.files;
  const partial = new PartialFiles(
    layout.files.map(({ header, fileBytes, first, end }, i) => ({
      output: paths[i],
      header,
      fileBytes,
      key: { ...key, headerSha256: sha256(header) },
      progress: progress.slice(first - start, end - start),
      resume,
    })),
  );
  return {
    target: { kind: 'files', paths: partial.paths },
    take: ({ file }) => partial.progressed(file),
    finish: () => partial.finish(),
    abandon: async () => partial.release(),
  };
}

async function streamOutput(path: string, options: OutputOptions): Promise<Output> {
  const { slotBytes, slots } = options;
  const [{ header, fileBytes }] = options.layout.files;
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
    await stream.write(header);
    position = header.length;
  });
  return {
    target: { kind: 'window', window, slotBytes },
    take(chunk) {
      waiting.set(chunk.number, chunk);
      schedule(pump);
    },
    async finish() {
      schedule(() => padTo(fileBytes));
      await pumping;
      await stream.close();
    },
    abandon: () => stream.close(),
  };
}
