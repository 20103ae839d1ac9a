import type { GroupInput, Slab, Step } from '../calibrate/forward/step.ts';
import type { Weight } from '../calibrate/forward/weights.ts';
import type { Factor } from '../compute/factor.ts';
import { multiply } from '../compute/gemm.ts';
import { solveByFactor } from '../compute/solve.ts';
import { addMatrix } from '../compute/tasks.ts';
import type { Team } from '../compute/team.ts';

/**
 * Gathers what the inputs of a group of matrices have lost, and from it makes the targets that their codes should come near: with
 * X the inputs in the quantized model, X_f those in the float model, and for a matrix whose results are added to the hidden
 * states D the difference of those states, float less quantized,
 *
 *     T = W + share (W (X_f - X)^T X + D^T X) (X^T X + lambda)^-1,
 *
 * for share = 1 the matrix that best gives the float model's results from the inputs that it will see (the target of GPTAQ,
 * arXiv 2504.02692 eq. 5, in closed form; D corrects what earlier layers left behind). Only a share is taken, as the
 * differences of a calibration text are not those of any other.
 */
export class Correction {
  readonly #team: Team;
  readonly #columns: number;
  /** The one matrix that adds to the hidden states, or null: then one product serves all matrices of the group. */
  readonly #adding: Weight | null;
  /** Address of (rows or columns) x columns float32. */
  readonly #products: number;
  readonly #rows: number;
  readonly #share: number;

  /** Takes its memory from the arena. `adding`: the matrix, where the group is one whose results are added to the states. */
  constructor(team: Team, columns: number, adding: Weight | null, share: number) {
    this.#team = team;
    this.#columns = columns;
    this.#adding = adding;
    this.#share = share;
    this.#rows = adding?.rows ?? columns;
    this.#products = team.arena.takeFloats(this.#rows * columns, 'what the inputs of a layer have lost');
    team.scope.floats(this.#products, this.#rows * columns).fill(0);
  }

  /**
   * Adds a slab. `float` and `own` are the inputs in the two models, `twin` and `step` the steps they come from. The float
   * model's inputs are lost.
   */
  add(float: GroupInput, own: GroupInput, twin: Step, step: Step, slab: Slab): void {
    const [team, columns] = [this.#team, this.#columns];
    const { rows } = own;
    addMatrix(team, { x: float.x, ld: float.ldx }, { x: own.x, ld: own.ldx }, rows, columns, -1);
    const gather = (differences: number, ld: number) =>
      multiply(team, {
        ...{ m: this.#rows, n: columns, k: rows, transposeA: true, transposeB: false, accumulate: true },
        ...{ a: differences, lda: ld, b: own.x, ldb: own.ldx, c: this.#products, ldc: columns },
      });
    if (this.#adding === null) {
      gather(float.x, float.ldx);
      return;
    }
    const { address, rows: width } = this.#adding;
    team.arena.scoped(() => {
      const lost = twin.statesOf(slab); // rows x width
      addMatrix(team, { x: lost, ld: width }, { x: step.statesOf(slab), ld: width }, rows, width, -1);
      multiply(team, {
        ...{ m: rows, n: width, k: columns, transposeB: true, accumulate: true },
        ...{ a: float.x, lda: float.ldx, b: address, ldb: columns, c: lost, ldc: width },
      });
      gather(lost, width);
    });
  }

  /** After the last slab, once. */
  finish(): void {
    // What is solved for is linear in the products.
    const products = { x: this.#products, ld: this.#columns };
    addMatrix(this.#team, products, products, this.#rows, this.#columns, this.#share - 1);
  }

  /** Writes the targets of a matrix of the group, rows x columns, to an address. `factor`: in the natural order. */
  target({ address, rows }: Weight, factor: Factor, to: number): void {
    const [team, columns] = [this.#team, this.#columns];
    const target = { x: to, ld: columns };
    if (this.#adding !== null) {
      team.scope.floats(to, rows * columns).set(team.scope.floats(this.#products, rows * columns));
    } else {
      multiply(team, {
        ...{ m: rows, n: columns, k: columns, a: address, lda: columns },
        ...{ b: this.#products, ldb: columns, transposeB: false, c: to, ldc: columns },
      });
    }
    solveByFactor(team, factor, to, rows);
    addMatrix(team, target, { x: address, ld: columns }, rows, columns, 1);
  }
}
