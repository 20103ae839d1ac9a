import type { Stage } from '../core/result.ts';
import type { CalibrationEvent } from '../model-runs.ts';
import type { PipelineEvent } from '../pipeline.ts';
import {
  formatBytes,
  formatCount,
  formatSeconds,
  printable,
  shorten,
  shortenName,
} from '../report/format.ts';
import { hasColor, type Io, isTerminal } from './io.ts';

/** Shows how a run goes, on stderr. */
export interface Progress {
  handle(event: PipelineEvent): void;
  /** A line for the user between the progress. */
  note(line: string): void;
  /** Removes what must not stay on the screen; to be called however the run ends. */
  stop(): void;
}

/** Plain lines come at most this often, in seconds, */
const LINE_EVERY = 5;
/** and only when another tenth of the work is done, or after this many seconds without a line. */
const SILENCE = 60;

/** Nothing with `quiet`, one moving line on a terminal, a few lasting lines elsewhere. */
export async function createProgress(io: Io, quiet: boolean): Promise<Progress> {
  if (quiet) return { handle() {}, note() {}, stop() {} };
  if (!isTerminal(io.stderr, io.env)) return lineProgress(io);
  const { default: ora } = await import('ora');
  const spinner = ora({
    stream: io.stderr as NodeJS.WriteStream,
    isEnabled: true,
    discardStdin: false, // raw mode would take Ctrl-C from us
    color: hasColor(io.stderr, io.env) ? 'cyan' : false,
  });
  return spinnerProgress(io, spinner);
}

/** What of ora is used. */
interface Spinner {
  text: string;
  start(): unknown;
  stop(): unknown;
}

export function spinnerProgress(io: Io, spinner: Spinner): Progress {
  const meter = createMeter(io.now);
  const show = () => {
    spinner.text = shortenLine(meter.describe(), (io.stderr.columns ?? 80) - 3); // spinner, space, margin
  };
  spinner.text = '';
  spinner.start();
  const note = (line: string) => {
    spinner.stop();
    io.stderr.write(`${line}\n`);
    spinner.start();
  };
  return {
    handle(event) {
      meter.update(event);
      noteEvent(event, note);
      show();
    },
    note,
    stop: () => void spinner.stop(),
  };
}

export function lineProgress(io: Io): Progress {
  const meter = createMeter(io.now);
  let lastTime = io.now();
  let lastTenth = 0;
  const note = (line: string) => void io.stderr.write(`${line}\n`);
  return {
    handle(event) {
      meter.update(event);
      noteEvent(event, note);
      const share = shareOf(event);
      if (share === null) return;
      const seconds = (io.now() - lastTime) / 1000;
      const tenth = Math.floor(10 * share);
      if (seconds < LINE_EVERY || (tenth === lastTenth && seconds < SILENCE)) return;
      note(meter.describe());
      [lastTime, lastTenth] = [io.now(), tenth];
    },
    note,
    stop() {},
  };
}

/** How much of its work an event says is done, from 0 to 1; null for one that says nothing of it. */
function shareOf(event: PipelineEvent): number | null {
  if (event.kind === 'progress') return event.doneWeights / event.totalWeights;
  return event.kind === 'calibration' ? event.done / event.total : null;
}

/** What a lasting line is written for. */
function noteEvent(event: PipelineEvent, note: (line: string) => void): void {
  if (event.kind === 'plan') note(describePlan(event));
  if (event.kind === 'resumed') note(describeResumed(event));
}

function describePlan({ plan, layout }: Extract<PipelineEvent, { kind: 'plan' }>): string {
  const { files, split, fileBytes } = layout;
  const tensors = files.reduce((sum, { first, end }) => sum + end - first, 0);
  const parts = split === null ? '' : `, ${describeParts(split, files.length)}`;
  return `${plan.fileType} by ${plan.method}: ${tensors} tensors, ${formatBytes(fileBytes)} to write${parts}`;
}

/** "in 3 files", "file 2 of 3". */
export const describeParts = (split: { count: number; first: number }, files: number): string =>
  files === split.count
    ? `in ${split.count} file${split.count === 1 ? '' : 's'}`
    : `file ${split.first + 1} of ${split.count}`;

const describeResumed = ({
  doneWeights,
  totalWeights,
}: Extract<PipelineEvent, { kind: 'resumed' }>): string =>
  doneWeights === 0
    ? 'nothing to resume: starting over'
    : `resuming: ${formatCount(doneWeights)} of ${formatCount(totalWeights)} weights are there and were checked`;

/** Stage, share done, speed and time left, from events and a clock in milliseconds. */
function createMeter(now: () => number) {
  let stage: Stage = 'read';
  let started = now();
  let progress = { doneWeights: 0, totalWeights: 0, tensor: '' };
  let resumed = 0; // weights that were done before
  let calibration: CalibrationEvent | null = null; // while it is what goes on
  let calibrationStarted = 0; // stages alternate under it
  let calibrationDone = Number.POSITIVE_INFINITY;
  return {
    update(event: PipelineEvent): void {
      if (event.kind === 'stage') {
        stage = event.stage;
        started = now();
        progress = { doneWeights: 0, totalWeights: 0, tensor: '' };
        calibration = null;
      } else if (event.kind === 'calibration') {
        calibration = event;
        if (event.done < calibrationDone) calibrationStarted = now(); // the first event, or an evaluation follows
        calibrationDone = event.done;
      } else if (event.kind === 'resumed') {
        resumed = event.doneWeights;
        started = now();
      } else if (event.kind === 'progress') {
        progress = event;
      }
    },
    describe(): string {
      if (calibration !== null) return describeCalibration(calibration, (now() - calibrationStarted) / 1000);
      const { doneWeights, totalWeights, tensor } = progress;
      if (totalWeights === 0) return stage;
      const seconds = (now() - started) / 1000;
      const speed = (doneWeights - resumed) / seconds;
      const parts = [stage, `${Math.floor((100 * doneWeights) / totalWeights)} %`];
      if (speed > 0 && seconds > 0) {
        const left = (totalWeights - doneWeights) / speed;
        parts.push(`${formatCount(speed)} weights/s`, `${formatSeconds(left)} left`);
      }
      return [...parts, printable(tensor)].join('  ');
    },
  };
}

/** "layer 3/32  40 %  2 min 05 s left  attn_q", after so many seconds of it. */
function describeCalibration(
  { layer, layers, step, done, total }: CalibrationEvent,
  seconds: number,
): string {
  const parts = [
    layer > layers ? 'output' : `layer ${layer}/${layers}`,
    `${Math.floor((100 * done) / total)} %`,
    ...(done > 0 && seconds > 0 ? [`${formatSeconds((seconds * (total - done)) / done)} left`] : []),
  ];
  return [...parts, printable(step)].join('  ');
}

/** A line that wraps cannot be redrawn: the tensor's name, which ends the line, gives way. */
const shortenLine = (line: string, width: number): string => {
  const nameAt = line.lastIndexOf('  ') + 2;
  if (line.length <= width || nameAt < 2) return line;
  const room = Math.max(4, width - nameAt);
  return line.slice(0, nameAt) + shorten(shortenName(line.slice(nameAt), room), room);
};
