/** The thread that conducts a calculation with a model: it may block, so that the main thread need not. */
import { tmpdir } from 'node:os';
import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import { collectActivationRanges } from '../calibrate/activation-ranges.ts';
import { ForwardPass } from '../calibrate/forward/forward.ts';
import { modelShape } from '../calibrate/forward/shape.ts';
import type { Step } from '../calibrate/forward/step.ts';
import { collectImportance } from '../calibrate/importance.ts';
import { MemoryBudgetError } from '../compute/arena.ts';
import type { Team } from '../compute/team.ts';
import { QuantizeError } from '../core/errors.ts';
import { evaluate } from '../evaluate/evaluate.ts';
import type { CodedTensor } from './coded-blocks.ts';
import { calibrateModel } from './gptq.ts';
import type { ConductMessage, ConductorData, SentError } from './job.ts';
import { inTermsOfMemory, type MemoryShares, shareMemory } from './memory.ts';
import { openTeam } from './team.ts';

const { job, taken } = workerData as ConductorData;
const post = (message: ConductMessage, transfer: MessagePort[] = []) =>
  parentPort!.postMessage(message, transfer);

/** Steps whose coded tensors may wait to be written. */
const WAITING = 1;

/** The threads of the team are the main thread's, which ends them when it ends this one. */
function run(): void {
  const shares = shareMemory(job.memory);
  const team = openTeam(job.threads, shares.team, job.gemm, (port, thread) =>
    post({ kind: 'thread', port, thread }, [port]),
  );
  post({ kind: 'done', result: calculate(team, shares) });
}

function calculate(team: Team, { states, tiles }: MemoryShares): unknown {
  const { model, windows } = job;
  const common = { model, windows, stateBytes: states, scratchDirectory: tmpdir() };
  const { layers } = modelShape(model);
  const report = (layer: number | null, step: string, done: number, total: number) =>
    post({ kind: 'progress', layer: layer === null ? layers + 1 : layer + 1, layers, step, done, total });
  switch (job.kind) {
    case 'gptq':
      return calibrateModel(team, {
        ...common,
        ...job.gptq,
        tileBytes: tiles,
        onCoded: deliver,
        onGroup: ({ layer, tensors, done, total }) => report(layer, shortNames(tensors), done, total),
      });
    case 'importance':
    case 'activations': {
      const pass = new ForwardPass({ ...common, team });
      let done = 0;
      const onStep = ({ layer, title }: Step) => report(layer, title, done++, pass.stepCount + 1);
      try {
        return job.kind === 'importance'
          ? collectImportance(pass, onStep)
          : collectActivationRanges(pass, job.percentile, onStep);
      } finally {
        pass.close();
      }
    }
    case 'evaluation': {
      const onStep = ({ layer, title }: Step, done: number, total: number) =>
        report(layer, title, done, total);
      const { base, activations, statistics, layers } = job;
      const asked = {
        ...(activations && { activations }),
        ...(statistics && { statistics }),
        ...(layers && { layers }),
      };
      return evaluate({ ...common, ...asked, team, base, onStep });
    }
  }
}

let delivered = 0;

/** Sends tensors, and waits while too many are on their way. */
function deliver(coded: readonly CodedTensor[]): void {
  post({ kind: 'coded', coded });
  delivered++;
  for (let seen = Atomics.load(taken, 0); delivered - seen > WAITING; seen = Atomics.load(taken, 0)) {
    Atomics.wait(taken, 0, seen);
  }
}

/** "attn_q, attn_k, attn_v" of the tensors of a layer. */
const shortNames = (tensors: readonly string[]): string =>
  tensors.map((name) => name.replace(/^blk\.\d+\./, '').replace(/\.weight$/, '')).join(', ');

function sent(error: Error): SentError {
  const { name, message, stack } = error;
  if (!(error instanceof QuantizeError)) return { name, message, stack, details: null, exitCode: 1 };
  const { cause: _cause, ...details } = error.details;
  return { name, message: error.message.split('\n')[0], stack, details, exitCode: error.exitCode };
}

try {
  run();
} catch (error) {
  const named = error instanceof MemoryBudgetError ? inTermsOfMemory(error, job.memory) : error;
  post({ kind: 'failed', error: sent(named as Error) });
}
