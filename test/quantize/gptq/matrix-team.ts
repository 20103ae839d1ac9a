import { Hessian } from '../../../src/compute/hessian.ts';
import * as linear from '../../../src/compute/linear-tasks.ts';
import * as compute from '../../../src/compute/tasks.ts';
import { Team } from '../../../src/compute/team.ts';
import { bytesOf, type TypeName } from '../../../src/core/types.ts';
import { decoders } from '../../../src/quantize/format/index.ts';
import { type MatrixJob, type OutputErrors, quantizeMatrix } from '../../../src/quantize/gptq/matrix.ts';
import * as gptq from '../../../src/quantize/gptq/tasks.ts';
import { compileKernels } from '../../../src/quantize/kernels.ts';
import { activations } from '../../compute/dense.ts';
import { gaussian } from '../../support/random.ts';

const open: Team[] = [];
const quantization = compileKernels();

/** A team that knows all tasks of quantizeMatrix; closeTeams closes it. */
export function gptqTeam(threads = 1, bytes = 128 << 20): Team {
  const team = newTeam(threads, bytes);
  open.push(team);
  return team;
}

/** The same, to be closed by whoever asks. */
export function newTeam(threads = 1, bytes = 128 << 20): Team {
  return new Team({
    ...{ threads, bytes, quantization },
    scratchBytes: Math.max(gptq.GPTQ_SCRATCH_BYTES, linear.LINEAR_SCRATCH_BYTES),
    modules: [
      { specifier: '#compute-tasks', module: compute },
      { specifier: '#linear-tasks', module: linear },
      { specifier: '#gptq-tasks', module: gptq },
    ],
  });
}

export function closeTeams(): void {
  for (const team of open.splice(0)) team.close();
}

/** rows x n weights. */
export function weightsOf(rows: number, n: number, seed = 1): Float32Array {
  const next = gaussian(seed);
  return Float32Array.from({ length: rows * n }, () => 0.02 * next());
}

const activationsOf = new Map<number, Float32Array>();

/** The Hessian of 2 n correlated activations, `dead` channels of which are zero. */
export function hessianOf(team: Team, n: number, dead: readonly number[] = []): Hessian {
  if (!activationsOf.has(n)) activationsOf.set(n, activations(2 * n, n, 7));
  const x = activationsOf.get(n)!.slice();
  for (const channel of dead) for (let row = 0; row < 2 * n; row++) x[row * n + channel] = 0;
  const hessian = new Hessian(team, n);
  team.arena.scoped(() => {
    const address = team.arena.takeFloats(x.length, 'activations');
    team.scope.floats(address, x.length).set(x);
    hessian.add(address, n, 2 * n);
  });
  return hessian;
}

export interface Coded extends OutputErrors {
  readonly bytes: Uint8Array;
  /** What is in place of the weights. */
  readonly decoded: Float32Array;
}

/** Codes weights; the bytes and what they are said to decode to. */
export function coded(
  team: Team,
  weights: Float32Array,
  job: Omit<MatrixJob, 'weights' | 'targets' | 'rows' | 'codes' | 'n'> & { targets?: Float32Array },
): Coded {
  const { arena, scope } = team;
  const { n } = job.hessian;
  const rows = weights.length / n;
  return arena.scoped(() => {
    const place = (values: Float32Array) => {
      const address = arena.takeFloats(values.length, 'weights');
      scope.floats(address, values.length).set(values);
      return address;
    };
    const at = place(weights);
    const codes = arena.take(bytesOf(job.type, rows * n), 'codes');
    const { targets, ...rest } = job;
    const errors = quantizeMatrix(team, {
      ...{ ...rest, weights: at, rows, n, codes },
      ...(targets === undefined ? {} : { targets: place(targets) }),
    });
    return {
      ...errors,
      bytes: scope.bytes(codes, bytesOf(job.type, rows * n)).slice(),
      decoded: scope.floats(at, rows * n).slice(),
    };
  });
}

/** What ggml decodes bytes to. */
export function decodedBytes(type: TypeName, bytes: Uint8Array, n: number): Float32Array {
  const values = new Float32Array(n);
  decoders[type]!(bytes, values);
  return values;
}
