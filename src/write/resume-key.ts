import { createHash } from 'node:crypto';
import { closeSync, createReadStream, openSync, readSync, statSync } from 'node:fs';
import { basename } from 'node:path';
import type { Checkpoint } from '../core/checkpoint.ts';
import { QuantizeError } from '../core/errors.ts';
import type { Plan } from '../core/plan.ts';
import { version } from '../core/version.ts';

/** What two runs must share so that one can go on where the other stopped. Where the files lie does not matter. */
export interface ResumeKey {
  /** Of this package. */
  readonly version: string;
  /** Weights in a chunk. */
  readonly chunk: number;
  readonly inputs: readonly InputKey[];
  /** SHA-256 of every planned tensor: name, shape, type, coding, place in the input. */
  readonly planSha256: string;
  /** SHA-256 of the header of this output file: metadata, and the cut into files. */
  readonly headerSha256: string;
  /** What multiplies the matrices of a calibration, whose numbers depend on it a little; null where none is. */
  readonly gemm: string | null;
  /** Options as given: they say why plans differ, and decide nothing themselves. */
  readonly options: Readonly<Record<string, unknown>>;
}

interface InputKey {
  readonly name: string;
  readonly bytes: number;
  /** Milliseconds since 1970. */
  readonly modified: number;
  /** SHA-256 of what lies before the first tensor's data. */
  readonly headerSha256: string;
}

/** The journal beside the output belongs to another job. */
export class ResumeMismatchError extends QuantizeError {}

/** What a calibration adds to a plan in deciding the bytes. */
interface Calibration {
  readonly gemm: string;
  /** All the rest. */
  readonly decisive: unknown;
}

/** The key of a run, the header of each output file apart. */
export function resumeKey(
  plan: Plan,
  chunk: number,
  options: Readonly<Record<string, unknown>>,
  calibration: Calibration | null = null,
): Omit<ResumeKey, 'headerSha256'> {
  return {
    version,
    chunk,
    inputs: inputKeys(plan.checkpoint),
    planSha256: sha256(JSON.stringify([plan.tensors, calibration?.decisive ?? null], digestible)),
    gemm: calibration?.gemm ?? null,
    options,
  };
}

export const sha256 = (bytes: Uint8Array | string): string =>
  createHash('sha256').update(bytes).digest('hex');

/** SHA-256 of a whole file, in hex. */
export async function sha256OfFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path, { highWaterMark: 4 << 20 })) hash.update(chunk);
  return hash.digest('hex');
}

/** Typed arrays by their bytes, bigints by their digits. */
function digestible(_key: string, value: unknown): unknown {
  if (ArrayBuffer.isView(value))
    return sha256(new Uint8Array(value.buffer, value.byteOffset, value.byteLength));
  return typeof value === 'bigint' ? String(value) : value;
}

function inputKeys({ files, tensors }: Checkpoint): InputKey[] {
  const headerBytes = files.map(({ size }) => size);
  for (const { file, offset } of tensors.values()) headerBytes[file] = Math.min(headerBytes[file], offset);
  return files.map(({ path }, i) => {
    const { size, mtimeMs } = statSync(path);
    return {
      name: basename(path),
      bytes: size,
      modified: Math.floor(mtimeMs),
      headerSha256: sha256(readStart(path, headerBytes[i])),
    };
  });
}

function readStart(path: string, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  const descriptor = openSync(path, 'r');
  try {
    let done = 0;
    for (let read = -1; done < length && read !== 0; done += read) {
      read = readSync(descriptor, bytes, done, length - done, done);
    }
    return bytes.subarray(0, done);
  } finally {
    closeSync(descriptor);
  }
}

/** What keeps a run of key `now` from going on where one of key `then` stopped; empty when nothing does. */
export function differences(then: ResumeKey, now: ResumeKey): string[] {
  const found: string[] = [];
  const compare = (what: string, a: unknown, b: unknown) => {
    if (a !== b) found.push(`${what}: ${a} then, ${b} now`);
  };
  compare('version', then.version, now.version);
  compare('--chunk-size', then.chunk, now.chunk);
  compare('number of input files', then.inputs.length, now.inputs.length);
  now.inputs.forEach((input, i) => {
    const before = then.inputs[i];
    if (before === undefined) return;
    compare(`size of ${input.name}`, before.bytes, input.bytes);
    compare(`modification time of ${input.name}`, time(before.modified), time(input.modified));
    if (before.headerSha256 !== input.headerSha256) found.push(`header of ${input.name}`);
  });
  compare('--gemm', then.gemm, now.gemm);
  const samePlan = then.planSha256 === now.planSha256 && then.headerSha256 === now.headerSha256;
  if (samePlan || found.length > 0) return found;
  for (const name of new Set([...Object.keys(then.options), ...Object.keys(now.options)])) {
    compare(name, JSON.stringify(then.options[name]), JSON.stringify(now.options[name]));
  }
  return found.length > 0
    ? found
    : ['the plan: metadata or tensors, as from a changed config.json or tokenizer'];
}

const time = (milliseconds: number): string => new Date(milliseconds).toISOString();
