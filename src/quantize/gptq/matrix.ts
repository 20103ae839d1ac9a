import type { Factor } from '../../compute/factor.ts';
import { multiply } from '../../compute/gemm.ts';
import type { Hessian } from '../../compute/hessian.ts';
import type { Team } from '../../compute/team.ts';
import { bytesOf, type TypeName } from '../../core/types.ts';
import { canWeigh } from '../format/index.ts';
import { GROUP_WIDTH, type Grid, gridOf } from './grid.ts';
import { type ColumnFacts, curvatureBytes, lossBytes, writeCurvature, writeLoss } from './loss.ts';
import { scaleBytes } from './state.ts';
import { type GgmlJob, type GroupJob, rowPieces, type Slab } from './tasks.ts';

/** A weight matrix (rows x n float32, row-major, in the team's memory) and how it is coded. */
export interface MatrixJob {
  /** Address of the weights. They are replaced by what the codes decode to. */
  readonly weights: number;
  /** Address of what the codes should come near, rows x n; the weights by default. */
  readonly targets?: number;
  readonly rows: number;
  readonly n: number;
  readonly type: TypeName;
  /** X^T X of the inputs that the matrix sees. */
  readonly hessian: Hessian;
  /** The factor of the Hessian, in the natural order or in `order`; null rounds each weight by itself. */
  readonly factor: Factor | null;
  /**
   * Channel at each place of the order in which columns are coded (act-order), as the factor has it. Scales are then
   * fixed beforehand, by a search on the weights.
   */
  readonly order?: ArrayLike<number>;
  /**
   * Sweeps over the whole matrix after all columns are coded, in which codes and scales improve under the full Hessian; in the
   * last one pairs of codes too.
   */
  readonly sweeps?: number;
  /** How often, at most, d and dmin of a super-block are fitted to its codes before the next is begun. */
  readonly refits?: number;
  /** Address of the encoded rows, `bytesOf(type, rows * n)` bytes. */
  readonly codes: number;
  /** Whether ggml's own codings are measured too. */
  readonly compare?: boolean;
}

/**
 * Output errors tr(E H E^T) / tr(T H T^T) with H undamped and E = T - Q, T the targets; 0 where no input ever was.
 */
export interface OutputErrors {
  /** tr(T H T^T), what the errors are relative to. */
  readonly signal: number;
  /** Of what was coded. */
  readonly result: number;
  /** Of ggml's coding without importance, and of that with E[x^2] as importance; null when they were not asked for. */
  readonly plain: number | null;
  readonly weighted: number | null;
}

export const DEFAULT_SWEEPS = 1;
export const DEFAULT_REFITS = 1;

/**
 * Codes a matrix so that tr(E H' E^T) becomes small, E = W - Q and H' = R R^T the damped Hessian: GPTQ (arXiv 2210.17323)
 * with the factor R in place of the inverse's, which gives the same codes. Columns go in groups of 256. A group's target
 * is T = W + (E R_before) R^-1, so that its loss is ||(T - Q) R||^2; its scales and codes are chosen together under this loss
 * (GroupCoder), then its errors are carried on. When all groups are done, each is improved with the others fixed
 * (GroupImprover).
 *
 * Rows are independent and each piece of work is a run of rows: the bytes are the same at any number of threads. Takes about
 * 5.5 bytes a weight of the arena; with less, rows go in slabs, to the same result.
 *
 * @throws TaskFailure with a ScaleFailure when a scale goes beyond float16; MemoryBudgetError, ScratchFileError
 */
export function quantizeMatrix(team: Team, job: MatrixJob): OutputErrors {
  const { n, rows, hessian, compare = true } = job;
  const sums = { signal: 0, result: 0, plain: 0, weighted: 0 };
  const diagonal = hessian.diagonal();
  team.arena.scoped(() => {
    const buffers = takeBuffers(team, job);
    const atOnce = rowsAtOnce(team, job);
    const errors = team.arena.takeFloats(atOnce * n, 'errors of a matrix');
    const levels = team.arena.take(atOnce * n, 'codes of a matrix');
    const scales = team.arena.take(atOnce * scaleBytes(n), 'scales of a matrix');
    const gradients = team.arena.takeFloats(atOnce * GROUP_WIDTH, 'gradients of a matrix');
    team.scope.floats(buffers.importance, n).set(diagonal);
    for (let row = 0; row < rows; row += atOnce) {
      const count = Math.min(atOnce, rows - row);
      const slab: Slab = {
        ...{ type: job.type, n, rows: count, firstRow: row, errors, levels, scales },
        weights: job.weights + 4 * row * n,
        targets: (job.targets ?? job.weights) + 4 * row * n,
      };
      const pieces = rowPieces(count);
      sums.signal += hessian.quadraticForm(slab.targets, n, count);
      if (compare) {
        const ggml = (importance: number) => {
          const job: GgmlJob = { ...slab, importance, codes: 0 };
          team.run('ggmlCode', pieces, [], job);
          return hessian.quadraticForm(errors, n, count);
        };
        const plain = ggml(0);
        sums.plain += plain;
        sums.weighted += canWeigh(job.type) ? ggml(buffers.importance) : plain;
      }
      codeSlab(team, job, slab, diagonal, buffers);
      if (job.factor !== null) {
        const sweeps = job.sweeps ?? DEFAULT_SWEEPS;
        for (let sweep = 1; sweep <= sweeps; sweep++) {
          improveSlab(team, job, job.factor, slab, buffers, gradients, sweep === sweeps);
        }
      }
      team.run('gptqFinish', pieces, [job.codes + bytesOf(job.type, row * n)], slab);
      sums.result += hessian.quadraticForm(errors, n, count);
    }
  });
  const relative = relativeTo(sums.signal);
  return {
    signal: sums.signal,
    result: relative(sums.result),
    plain: compare ? relative(sums.plain) : null,
    weighted: compare ? relative(sums.weighted) : null,
  };
}

/** A quadratic form over that of the targets; 0 where no input ever was. */
export const relativeTo =
  (signal: number) =>
  (sum: number): number =>
    signal === 0 ? 0 : sum / signal;

/** Addresses of what all rows share. */
interface Buffers {
  /** Diagonal of the Hessian. */
  readonly importance: number;
  /** int32, the order of columns. */
  readonly order: number;
  /** Rows of R or H of a group, and what is made of them. */
  readonly panel: number;
  readonly made: number;
}

function takeBuffers({ arena, scope }: Team, { n, type, order }: MatrixJob): Buffers {
  const width = Math.min(GROUP_WIDTH, n);
  const { sub } = gridOf(type)!;
  const buffers = {
    importance: arena.takeFloats(n, 'importance of columns'),
    order: arena.take(4 * n, 'order of columns'),
    panel: arena.takeFloats(width * n, 'a panel of a Hessian'),
    made: arena.take(
      Math.max(lossBytes(width, sub), curvatureBytes(width, sub)),
      'factors of a group of columns',
    ),
  };
  if (order !== undefined) new Int32Array(scope.memory.buffer, buffers.order, n).set(order);
  return buffers;
}

/** Bytes of the arena that are left to `quadraticForm`. */
const MEASURING_BYTES = 33 << 20;

/** Rows whose errors, codes, scales and gradients fit into the arena. */
function rowsAtOnce({ arena }: Team, { n, rows }: MatrixJob): number {
  const bytesPerRow = 5 * n + scaleBytes(n) + 4 * GROUP_WIDTH;
  const fitting = Math.floor((arena.free - MEASURING_BYTES - 4 * 64) / bytesPerRow);
  return Math.max(1, Math.min(rows, fitting));
}

/** Codes all groups of columns in order; what is lost is then in `slab.errors`. */
function codeSlab(team: Team, job: MatrixJob, slab: Slab, diagonal: Float64Array, buffers: Buffers): void {
  const { factor, order, refits = DEFAULT_REFITS } = job;
  const mean = diagonal.reduce((sum, value) => sum + value, 0) / diagonal.length;
  const lambda = factor?.lambda ?? 0;
  // Nothing must count for nothing, or its scale is anything: without damping, a millionth of the mean.
  const facts: ColumnFacts = { n: job.n, diagonal, lambda: lambda > 0 ? lambda : 1e-6 * mean || 1 };
  const pass = (task: string, passFacts: ColumnFacts, by: Factor | null) => {
    team.scope.floats(slab.errors, slab.rows * slab.n).fill(0);
    eachGroup(job.n, (start, width) => {
      by?.panel(start, width, buffers.panel);
      const panel = by === null ? null : buffers.panel;
      const made = writeLoss(team.scope, passFacts, gridOf(job.type)!, start, width, panel, buffers.made);
      const loss = { ...made, order: buffers.order };
      const group: GroupJob<typeof loss> = { ...slab, start, loss };
      team.run(task, rowPieces(slab.rows), [refits], group);
      const after = start + width;
      if (by === null || after === job.n) return;
      multiply(team, {
        ...{ m: slab.rows, n: job.n - after, k: width, transposeB: false, accumulate: true },
        ...{ a: slab.errors + 4 * start, lda: job.n },
        ...{ b: buffers.panel + 4 * width, ldb: job.n - start },
        ...{ c: slab.errors + 4 * after, ldc: job.n },
      });
    });
  };
  if (order === undefined || factor === null) {
    pass('gptqCode', facts, factor);
    return;
  }
  pass('gptqCode', facts, null);
  pass(
    'gptqOrdered',
    { ...facts, diagonal: Float64Array.from(order, (channel) => diagonal[channel]) },
    factor,
  );
  team.run('gptqErrors', rowPieces(slab.rows), [], slab);
}

/** One sweep over all groups of columns, each with the errors of all others as they are; the last moves pairs of codes too. */
function improveSlab(
  team: Team,
  { hessian, n, type }: MatrixJob,
  { lambda }: Factor,
  slab: Slab,
  { panel, made }: Buffers,
  gradients: number,
  last: boolean,
): void {
  const grid: Grid = gridOf(type)!;
  eachGroup(n, (start, width) => {
    hessian.rows(start, width, panel);
    const rows = team.scope.floats(panel, width * n);
    for (let i = 0; i < width; i++) {
      const diagonal = i * n + start + i;
      // A dead channel of an undamped Hessian has no level that is best: the 1 keeps it where it is.
      rows[diagonal] = rows[diagonal] + lambda || 1;
    }
    multiply(team, {
      ...{ m: slab.rows, n: width, k: n, transposeB: true },
      ...{ a: slab.errors, lda: n, b: panel, ldb: n, c: gradients, ldc: width },
    });
    const loss = writeCurvature(team.scope, n, grid, start, width, panel, made);
    const group: GroupJob<typeof loss> = { ...slab, start, loss };
    team.run('gptqImprove', rowPieces(slab.rows), [gradients, last ? 1 : 0], group);
  });
}

function eachGroup(n: number, visit: (start: number, width: number) => void): void {
  for (let start = 0; start < n; start += GROUP_WIDTH) visit(start, Math.min(GROUP_WIDTH, n - start));
}
