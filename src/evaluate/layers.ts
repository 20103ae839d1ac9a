import { INPUT_ROWS } from '../calibrate/forward/activation-tasks.ts';
import type { Activations } from '../calibrate/forward/activations.ts';
import type { ForwardPass } from '../calibrate/forward/forward.ts';
import { type GroupInput, multiplyInputs, type Step } from '../calibrate/forward/step.ts';
import type { Weight, WeightSource } from '../calibrate/forward/weights.ts';
import type { Team } from '../compute/team.ts';
import { activationsName } from '../core/activations.ts';
import { UsageError } from '../core/errors.ts';
import type { LayerError } from '../core/evaluation.ts';

/** Floats of outputs that are held of each model at a time, at most, where a matrix is taken in parts. */
const OUTPUTS = 1 << 24;

/** Sums of one matrix: of squares of the base's outputs, and of the differences from them, first with inputs as they are. */
interface Sums {
  squares: number;
  readonly errors: number[];
  inputs: number;
}

/** Measures the outputs of a model's matrices while its base goes through its steps. */
export class LayerErrors {
  readonly #team: Team;
  readonly #source: WeightSource;
  readonly #schemes: readonly Activations[];
  readonly #path: string;
  readonly #found: LayerError[] = [];

  /** `source`: weights of the model, `path` its file. */
  constructor(team: Team, source: WeightSource, path: string, schemes: readonly Activations[]) {
    this.#team = team;
    this.#source = source;
    this.#path = path;
    this.#schemes = schemes;
  }

  /** In the order of the calculation. */
  get found(): readonly LayerError[] {
    return this.#found;
  }

  /** Runs a step of the base, and compares each of its matrices on the way. */
  advance(step: Step): void {
    this.#team.arena.scoped(() => {
      const matrices = step.groups.map((group) =>
        group.tensors.map((name) => {
          const own = step.weights.get(name)!;
          const first = (group.expert ?? 0) * own.rows;
          return { own, other: this.#load(name, own, first), sums: this.#sums() };
        }),
      );
      step.advance((input) => {
        for (const { own, other, sums } of matrices[step.groups.indexOf(input.group)]) {
          this.#add(input, own, other, sums);
        }
      });
      for (const [g, group] of step.groups.entries()) {
        for (const { own, other, sums } of matrices[g])
          this.#take(step.layer, group.expert, own.rows, other, sums);
      }
    });
  }

  /** The output matrix, of which neither model holds all rows at a time. */
  output(base: ForwardPass): void {
    const { arena } = this.#team;
    const step = base.output();
    const [group] = step.groups;
    const { matrix } = step;
    const total = base.source.rowsOf(matrix);
    const most = Math.floor(arena.free / 4 / (8 * group.columns));
    const part = Math.max(1, Math.min(total, most, Math.floor(OUTPUTS / step.slabs[0].rows)));
    const sums = this.#sums();
    let other: Weight | null = null;
    for (let first = 0; first < total; first += part) {
      arena.scoped(() => {
        const own = base.source.load(matrix, first, Math.min(part, total - first));
        const weights = (other = this.#load(
          this.#source.has(matrix) ? matrix : 'token_embd.weight',
          own,
          first,
        ));
        for (const slab of step.slabs) {
          arena.scoped(() => this.#add(step.inputOf(group, slab)!, own, weights, sums));
        }
      });
    }
    sums.inputs = step.slabs.reduce((count, { rows }) => count + rows, 0);
    this.#take(null, null, total, { ...other!, name: matrix }, sums);
  }

  #sums(): Sums {
    return { squares: 0, errors: [0, ...this.#schemes.map(() => 0)], inputs: 0 };
  }

  #load(name: string, { rows, columns }: Weight, first: number): Weight {
    if (!this.#source.has(name)) {
      throw new UsageError('the model has no matrix that its base has', {
        file: this.#path,
        tensor: name,
        advice: 'compare a model with the one it was made from',
      });
    }
    const weight = this.#source.load(name, first, rows);
    if (weight.columns === columns) return weight;
    throw new UsageError('a matrix of the model and that of its base have different shapes', {
      file: this.#path,
      tensor: name,
      expected: `rows of ${columns}`,
      got: `rows of ${weight.columns}`,
      advice: 'compare a model with the one it was made from',
    });
  }

  #add(input: GroupInput, own: Weight, other: Weight, sums: Sums): void {
    const { arena, scope } = this.#team;
    arena.scoped(() => {
      const { rows } = input;
      const n = own.rows;
      const pieces = Math.ceil(rows / INPUT_ROWS);
      const partial = arena.take(16 * pieces, 'errors of outputs');
      const [expected, got] = [0, 1].map(() => arena.takeFloats(rows * n, 'outputs'));
      multiplyInputs({ team: this.#team, activations: null }, input, own, { x: expected, ld: n }, false);
      for (const [i, activations] of [null, ...this.#schemes].entries()) {
        arena.scoped(() => {
          // Copies of the inputs end with this scope, and no other product may take them for its own.
          const seen = { ...input };
          multiplyInputs({ team: this.#team, activations }, seen, other, { x: got, ld: n }, false);
        });
        this.#team.run('compareRows', pieces, [rows, n, expected, got, partial]);
        const pairs = scope.doubles(partial, 2 * pieces);
        for (let piece = 0; piece < pieces; piece++) {
          sums.errors[i] += pairs[2 * piece];
          if (i === 0) sums.squares += pairs[2 * piece + 1];
        }
      }
      sums.inputs += rows;
    });
  }

  #take(layer: number | null, expert: number | null, rows: number, other: Weight, sums: Sums): void {
    const { squares, errors, inputs } = sums;
    const relative = (error: number) => (squares > 0 ? error / squares : null);
    this.#found.push({
      ...{ tensor: other.name, layer, expert, type: other.type, rows, columns: other.columns, inputs },
      weightsOnly: relative(errors[0]),
      activations: this.#schemes.map(({ scheme }, i) => ({
        scheme: activationsName(scheme),
        error: relative(errors[i + 1]),
      })),
    });
  }
}
