import { multiply } from '../../compute/gemm.ts';
import type { Placed } from '../../compute/tasks.ts';
import { TaskFailure, type Team } from '../../compute/team.ts';
import { QuantizeError } from '../../core/errors.ts';
import type { Activations } from './activations.ts';
import type { ModelShape } from './shape.ts';
import type { StateStore } from './states.ts';
import { ROWS } from './tasks.ts';
import type { Weight, WeightSource } from './weights.ts';

/** A model's calculation went to infinity or NaN. */
export class NotFiniteActivationError extends QuantizeError {}

/** Whole windows that go through a step together. */
export interface Slab {
  readonly index: number;
  readonly firstWindow: number;
  readonly windows: number;
  /** Tokens: windows x context. */
  readonly rows: number;
}

/** What all steps of a pass share. */
export interface Pass {
  readonly team: Team;
  readonly shape: ModelShape;
  readonly source: WeightSource;
  /** Tokens in a window. */
  readonly context: number;
  readonly slabs: readonly Slab[];
  /** Quantizes the inputs of products; null where they stay float32. */
  readonly activations: Activations | null;
  /** Hidden states between the steps; a step replaces those of a slab by its own results. */
  states: StateStore;
  /** Address of the rotary table (`ropeTable`). */
  readonly rotations: number;
  /** Bytes outside the team's memory in which a step may keep inputs that it will need again. */
  readonly keepBytes: number;
  /** A second store of the same size, for steps that need the old states until the new ones are whole. */
  newStore(): StateStore;
}

/** Matrices that are multiplied with the same inputs. */
export interface InputGroup {
  /** Names of their tensors, as in GGUF files. */
  readonly tensors: readonly string[];
  /** Which expert's matrices of stacked ones; null where they are not stacked. */
  readonly expert: number | null;
  /** Length of an input, and of the matrices' rows. */
  readonly columns: number;
}

/** Inputs of one group in one slab; without gaps for the last group of a step. */
export interface GroupInput {
  readonly group: InputGroup;
  readonly x: number;
  readonly ldx: number;
  readonly rows: number;
}

/** c = inputs W^T, or added to c; the inputs are quantized first if the pass quantizes them. */
export function multiplyInputs(
  { team, activations }: Pick<Pass, 'team' | 'activations'>,
  input: GroupInput,
  weight: Weight,
  c: Placed,
  accumulate: boolean,
): void {
  if (activations !== null) {
    activations.multiply(input, weight, c, accumulate);
    return;
  }
  multiply(team, {
    ...{ m: input.rows, n: weight.rows, k: weight.columns },
    ...{ a: input.x, lda: input.ldx, b: weight.address, ldb: weight.columns, transposeB: true },
    ...{ c: c.x, ldc: c.ld, accumulate },
  });
}

/**
 * A part of a block that adds to the hidden states: attention, the feed-forward, or an expert. Its weights lie in the arena
 * from its making to the end of its turn (`ForwardPass.steps`); whoever quantizes them overwrites them there, and what
 * runs afterwards sees the new values. Buffers that a caller takes from the arena meanwhile must be given back before the turn ends.
 */
export abstract class Step {
  /** Layer, null for the output. */
  readonly layer: number | null;
  /** In a word: attention, feed-forward, router, expert 3, output. */
  readonly title: string;
  /** In the order in which the step calculates. */
  readonly groups: readonly InputGroup[];
  /** By the names of their tensors; of stacked experts the matrix of this step's. */
  readonly weights = new Map<string, Weight>();
  protected readonly pass: Pass;
  /** Inputs of the last group by slab, as far as there was room, from when they were shown to the end of the step. */
  readonly #kept: Float32Array[] = [];
  #advanced = false;

  constructor(pass: Pass, layer: number | null, title: string, groups: readonly InputGroup[]) {
    this.pass = pass;
    this.layer = layer;
    this.title = title;
    this.groups = groups;
  }

  /** Whether all windows have passed the step. */
  get advanced(): boolean {
    return this.#advanced;
  }

  /** Calculates a slab up to the inputs of the last group, pausing with those of each. */
  protected abstract inputs(slab: Slab): Generator<GroupInput>;

  /** Goes on from the inputs of the last group to the new states, and writes them to their store. */
  protected abstract complete(slab: Slab, last: GroupInput): void;

  /** What remains to be done when all slabs have passed. */
  protected finish(): void {}

  /** All tokens, in parts. */
  get slabs(): readonly Slab[] {
    return this.pass.slabs;
  }

  /**
   * Calculates one slab up to the inputs of a group, with the weights as they are now, in buffers of the arena that the caller gives
   * back. The hidden states stay as they are. Once the inputs of the last group have been shown, `advance` may go on from there: from
   * then on only that group's weights may change. Null where no token of the slab reaches the group (an expert).
   *
   * @throws NotFiniteActivationError
   */
  inputOf(group: InputGroup, slab: Slab): GroupInput | null {
    for (const input of this.inputs(slab)) {
      this.check(input, slab);
      if (input.group !== group) continue;
      this.#keep(input, slab);
      return input;
    }
    return null;
  }

  /** Hidden states of a slab before the step, rows x width, in a buffer of the arena that the caller gives back. */
  statesOf(slab: Slab): number {
    return this.readStates(slab);
  }

  /** The matrix of a group, where its results are added to the hidden states as they are. */
  addingMatrix(_group: InputGroup): Weight | null {
    return null;
  }

  /** Keeps inputs of the last group, if there is room; of a step with one group there is nothing to save. */
  #keep({ group, x, ldx, rows }: GroupInput, slab: Slab): void {
    if (this.groups.length === 1 || group !== this.groups.at(-1)) return;
    delete this.#kept[slab.index];
    const kept = this.#kept.reduce((sum, { byteLength }) => sum + byteLength, 0);
    if (kept + 4 * rows * ldx > this.pass.keepBytes) return;
    this.#kept[slab.index] = this.pass.team.scope.floats(x, rows * ldx).slice();
  }

  /**
   * Runs all windows through the step: hidden states become those behind it. `visit` sees the inputs of every group on the way.
   *
   * @throws NotFiniteActivationError
   */
  advance(visit?: (input: GroupInput) => void): void {
    if (this.#advanced) throw new Error(`${this.title} of layer ${this.layer} was calculated twice`);
    for (const slab of this.pass.slabs) {
      this.pass.team.arena.scoped(() => {
        const inputs = visit === undefined && this.#kept[slab.index] ? this.#again(slab) : this.inputs(slab);
        let last: GroupInput | null = null;
        for (const input of inputs) {
          this.check(input, slab);
          visit?.(input);
          last = input;
        }
        if (last !== null) this.complete(slab, last);
      });
    }
    this.#kept.length = 0;
    this.finish();
    this.#advanced = true;
  }

  /** Inputs of the last group that were kept. */
  *#again(slab: Slab): Generator<GroupInput> {
    const kept = this.#kept[slab.index];
    const group = this.groups.at(-1)!;
    const x = this.take(kept.length, 'inputs');
    this.pass.team.scope.floats(x, kept.length).set(kept);
    yield { group, x, ldx: group.columns, rows: kept.length / group.columns };
  }

  /** Loads a tensor, or rows of it, under its name. */
  protected load(name: string, first?: number, rows?: number): Weight {
    const weight = this.pass.source.load(name, first, rows);
    this.weights.set(name, weight);
    return weight;
  }

  /** Address of the vector of this name, 0 if the model has none. */
  protected vector(name: string): number {
    return this.pass.source.has(name) ? this.load(name).address : 0;
  }

  protected take(floats: number, what: string): number {
    const place = this.layer === null ? this.title : `${this.title} of layer ${this.layer}`;
    return this.pass.team.arena.takeFloats(floats, `${what} of ${place}`);
  }

  /** The states of a slab, rows x width: those before this step unless told. */
  protected readStates(slab: Slab, states = this.pass.states): number {
    const { team, shape } = this.pass;
    const count = slab.rows * shape.width;
    const x = this.take(count, 'hidden states');
    states.read(slab.index, team.scope.floats(x, count));
    return x;
  }

  /** @throws NotFiniteActivationError naming the tensor whose product was added last */
  protected writeStates(states: StateStore, slab: Slab, x: number, tensor: string): void {
    const { team, shape } = this.pass;
    this.#requireFinite(x, shape.width, slab.rows, shape.width, slab, `results of ${tensor}`, tensor);
    states.write(slab.index, team.scope.floats(x, slab.rows * shape.width));
  }

  /** The normed states of a slab, rows x width. */
  protected readNormed(slab: Slab, norm: Weight): number {
    const { width, epsilon } = this.pass.shape;
    const x = this.readStates(slab);
    this.runRows('norm', slab.rows, [x, width, norm.address, x, width, width, epsilon]);
    return x;
  }

  /** c = inputs W^T + bias, or added to c. */
  protected product(input: GroupInput, weight: Weight, bias: number, c: Placed, accumulate = false): void {
    multiplyInputs(this.pass, input, weight, c, accumulate);
    if (bias !== 0) this.runRows('addBias', input.rows, [c.x, c.ld, weight.rows, bias]);
  }

  /** Runs a task whose pieces are rows. */
  protected runRows(task: string, rows: number, args: readonly number[]): void {
    this.pass.team.run(task, Math.ceil(rows / ROWS), [rows, ...args]);
  }

  protected check({ group, x, ldx, rows }: GroupInput, slab: Slab): void {
    const what = `inputs of ${group.tensors.join(', ')}`;
    this.#requireFinite(x, ldx, rows, group.columns, slab, what, group.tensors[0]);
  }

  #requireFinite(
    x: number,
    ldx: number,
    rows: number,
    columns: number,
    slab: Slab,
    what: string,
    tensor: string,
  ): void {
    try {
      this.runRows('requireFinite', rows, [x, ldx, columns]);
    } catch (error) {
      if (!(error instanceof TaskFailure)) throw error;
      const where = this.layer === null ? 'behind the last layer' : `in layer ${this.layer}`;
      throw new NotFiniteActivationError(`the calculation of the model is not finite ${where}`, {
        tensor,
        expected: `finite ${what}`,
        got: `NaN or infinity in windows ${slab.firstWindow} to ${slab.firstWindow + slab.windows - 1}`,
        advice:
          'the weights of this layer or of one before it are damaged, or belong to another configuration',
      });
    }
  }
}
