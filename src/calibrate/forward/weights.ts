import { TaskFailure, type Team } from '../../compute/team.ts';
import type { QuantizeError } from '../../core/errors.ts';
import { storedType } from '../../core/plan.ts';
import { elementsOf, type TypeName } from '../../core/types.ts';
import { NotFiniteWeightError, unreadable } from '../../core/weight-errors.ts';
import { GATHERED, PIECE, type WeightFailure } from './read.ts';
import type { ForwardModel, ForwardTensor } from './shape.ts';

/** A matrix in the team's memory: float32, row-major, rows of `columns` without gaps. A vector is one row. */
export interface Weight {
  /** Of its tensor, which may hold more rows. */
  readonly name: string;
  /** In which it is stored. */
  readonly type: TypeName;
  /** In bytes. */
  readonly address: number;
  readonly rows: number;
  readonly columns: number;
}

/** Reads a model's tensors into the memory of a team, as float32, whatever type they are stored in. */
export class WeightSource {
  readonly #team: Team;
  readonly #paths: readonly string[];
  readonly #tensors: ReadonlyMap<string, ForwardTensor>;

  constructor(team: Team, model: ForwardModel, tensors: ReadonlyMap<string, ForwardTensor>) {
    this.#team = team;
    this.#paths = model.files.map(({ path }) => path);
    this.#tensors = tensors;
  }

  has(name: string): boolean {
    return this.#tensors.has(name);
  }

  /** Rows of a tensor, those of all its experts. */
  rowsOf(name: string): number {
    const { shape } = this.#tensor(name);
    return elementsOf(shape) / shape[0];
  }

  /**
   * Takes a buffer in the arena and reads rows of a tensor into it, all of them unless told.
   *
   * @throws NotFiniteWeightError, ReadError, InputChangedError, MemoryBudgetError
   */
  load(name: string, first = 0, rows = this.rowsOf(name) - first): Weight {
    const { shape, source } = this.#tensor(name);
    const [columns] = shape;
    const address = this.#team.arena.takeFloats(rows * columns, name);
    const [start, count] = [first * columns, rows * columns];
    const payload = { paths: this.#paths, source };
    this.#run(name, 'loadWeights', Math.ceil(count / PIECE), [start, count, address], payload);
    return { name, type: storedType(source), address, rows, columns };
  }

  /** Reads the rows of a tensor that `ids` names to an address, one after another. */
  gather(name: string, ids: Int32Array, address: number): void {
    const { shape, source } = this.#tensor(name);
    const payload = { paths: this.#paths, source, ids };
    this.#run(name, 'gatherRows', Math.ceil(ids.length / GATHERED), [shape[0], address], payload);
  }

  #tensor(name: string): ForwardTensor {
    const tensor = this.#tensors.get(name);
    if (tensor === undefined) throw new Error(`the model has no tensor ${name}`);
    return tensor;
  }

  #run(name: string, task: string, count: number, args: readonly number[], payload: unknown): void {
    try {
      this.#team.run(task, count, args, payload);
    } catch (error) {
      throw error instanceof TaskFailure
        ? this.#named(this.#tensor(name), error.failure as WeightFailure)
        : error;
    }
  }

  #named({ name, shape, source }: ForwardTensor, failure: WeightFailure): QuantizeError {
    if (failure.cause === 'weight') {
      const { element, value } = failure;
      const file = source.kind === 'stored' ? this.#paths[source.parts[0].file] : undefined;
      return new NotFiniteWeightError('a weight is not a finite float32', {
        file,
        tensor: name,
        expected: 'finite weights',
        got: `${value} at row ${Math.floor(element / shape[0])}, column ${element % shape[0]}`,
        advice: 'the checkpoint is damaged or its training diverged: download it again or repair the tensor',
      });
    }
    return unreadable(failure, this.#paths[failure.file], name);
  }
}
