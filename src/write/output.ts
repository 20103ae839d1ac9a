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
  /** What a failed run leaves behind: the unfinished files and their journals. */
  readonly kept: readonly string[];
  /** Takes a chunk; the calls come in no particular order. */
  take(chunk: EncodedChunk): void;
  /**
   * After every chunk was taken: resolves when the output is whole.
   *
   * @throws what kept it from becoming whole
   */
  finish(): Promise<void>;
  /** After a failure: saves what is to be kept, and ends whatever waits for a reader. Never throws. */
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
  readonly signal: AbortSignal | undefined;
  /** A stream has emitted this many chunks, so that many slots are free again. */
  onEmitted(count: number): void;
  /** A stream broke and will take no more; `finish` says why. */
  onBroken(): void;
}

/** Opens the output and writes the headers. */
export async function openOutput(targets: OutputTargets, options: OutputOptions): Promise<Output> {
  return targets.kind === 'files' ? fileOutput(targets, options) : streamOutput(targets, options);
}

function fileOutput(
  { paths, force }: Extract<OutputTargets, { kind: 'files' }>,
  { layout, key, progress, resume }: OutputOptions,
): Output {
  const [{ first: start }] = layout.files;
  const partial = new PartialFiles(
    layout.files.map(({ header, fileBytes, first, end }, i) => ({
      output: paths[i],
      header,
      fileBytes,
      key: { ...key, headerSha256: sha256(header) },
      progress: progress.slice(first - start, end - start),
      resume,
      force,
    })),
  );
  return {
    target: { kind: 'files', paths: partial.paths },
    kept: partial.kept,
    take: ({ file }) => partial.progressed(file),
    finish: () => partial.finish(),
    abandon: async () => partial.release(),
  };
}

async function streamOutput(
  target: Extract<OutputTargets, { kind: 'stream' }>,
  options: OutputOptions,
): Promise<Output> {
  const { slotBytes, slots, signal } = options;
  const [{ header, fileBytes }] = options.layout.files;
  const stream = await OutputStream.open(target, signal);
  const window = new Uint8Array(new SharedArrayBuffer(slotBytes * slots));
  // The system takes no shared memory for a write: the chunk that is being emitted is copied here.
  const emitting = Buffer.allocUnsafeSlow(slotBytes);
  const waiting = new Map<number, EncodedChunk>();
  let emitted = 0;
  let position = 0;
  let failure: unknown = null;
  const cancel = () => stream.cancel();
  signal?.addEventListener('abort', cancel);

  const padTo = async (offset: number) => {
    if (offset > position) await stream.write(new Uint8Array(offset - position));
    position = offset;
  };

  /** Emits every chunk that is next in order; one call runs at a time. */
  const pump = async () => {
    for (let chunk = waiting.get(emitted); chunk; chunk = waiting.get(emitted)) {
      waiting.delete(emitted);
      await padTo(chunk.offset);
      const slot = (chunk.number % slots) * slotBytes;
      const bytes = emitting.subarray(0, chunk.byteLength);
      bytes.set(window.subarray(slot, slot + chunk.byteLength));
      await stream.write(bytes);
      position += chunk.byteLength;
      options.onEmitted(++emitted);
    }
  };
  let pumping = Promise.resolve();
  const schedule = (work: () => Promise<void>) => {
    pumping = pumping.then(async () => {
      if (failure !== null) return;
      try {
        await work();
      } catch (error) {
        failure = error;
        options.onBroken();
      }
    });
  };

  schedule(async () => {
    await stream.write(header);
    position = header.length;
  });
  const close = async () => {
    signal?.removeEventListener('abort', cancel);
    await pumping;
    await stream.close();
  };
  return {
    target: { kind: 'window', window, slotBytes },
    kept: [],
    take(chunk) {
      waiting.set(chunk.number, chunk);
      schedule(pump);
    },
    async finish() {
      schedule(() => padTo(fileBytes));
      await pumping;
      if (failure !== null) throw failure;
      await close();
    },
    async abandon() {
      stream.cancel();
      await close().catch(() => {}); // the run has failed already, for a reason of its own
    },
  };
}
