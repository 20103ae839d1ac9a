import type { MessagePort } from 'node:worker_threads';
import * as forwardTasks from '../calibrate/forward/tasks.ts';
import type { Gemm } from '../compute/gemm-choice.ts';
import * as linearTasks from '../compute/linear-tasks.ts';
import * as computeTasks from '../compute/tasks.ts';
import { Team } from '../compute/team.ts';
import * as gptqTasks from '../quantize/gptq/tasks.ts';
import { compileKernels } from '../quantize/kernels.ts';

/**
 * A team that can do everything that calibration and evaluation ask for, over `bytes` of shared memory.
 *
 * @param startThread as of TeamOptions
 */
export const openTeam = (
  threads: number,
  bytes: number,
  gemm: Gemm,
  startThread?: (port: MessagePort, thread: number) => void,
): Team =>
  new Team({
    threads,
    bytes,
    scratchBytes: Math.max(linearTasks.LINEAR_SCRATCH_BYTES, gptqTasks.GPTQ_SCRATCH_BYTES),
    modules: [
      { specifier: '#compute-tasks', module: computeTasks },
      { specifier: '#linear-tasks', module: linearTasks },
      { specifier: '#forward-tasks', module: forwardTasks },
      { specifier: '#gptq-tasks', module: gptqTasks },
    ],
    quantization: compileKernels(),
    gemm,
    ...(startThread && { startThread }),
  });
