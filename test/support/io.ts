import type { Io } from '../../src/cli/io.ts';

/** Streams that remember and a clock that stands still until `advance`. */
export function fakeIo(over: { stderrIsTTY?: boolean; stdoutIsTTY?: boolean; env?: Io['env'] } = {}) {
  let time = 0;
  const out: string[] = [];
  const err: string[] = [];
  const controller = new AbortController();
  const io: Io = {
    stdout: { isTTY: over.stdoutIsTTY, write: (text) => out.push(text) },
    stderr: { isTTY: over.stderrIsTTY, columns: 80, write: (text) => err.push(text) },
    env: over.env ?? {},
    now: () => time,
    interruptible: () => controller.signal,
    collectGarbage: () => {},
  };
  return {
    io,
    abort: (reason: Error) => controller.abort(reason),
    advance: (seconds: number) => {
      time += seconds * 1000;
    },
    stdout: () => out.join(''),
    stderr: () => err.join(''),
    lines: () => err.join('').split('\n').slice(0, -1),
  };
}
