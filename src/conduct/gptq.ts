import { type ForwardOptions, ForwardPass } from '../calibrate/forward/forward.ts';
import type { ForwardModel } from '../calibrate/forward/shape.ts';
import type { InputGroup, Step } from '../calibrate/forward/step.ts';
import type { Weight } from '../calibrate/forward/weights.ts';
import { type Factor, factorHessian } from '../compute/factor.ts';
import { Hessian } from '../compute/hessian.ts';
import { TaskFailure, type Team } from '../compute/team.ts';
import { TilePool } from '../compute/tiles.ts';
import type { CalibrationTimes, Rounding, Statistics } from '../core/calibration.ts';
import type { QuantizeError } from '../core/errors.ts';
import { bytesOf, type TypeName } from '../core/types.ts';
import { ScaleOverflowError } from '../core/weight-errors.ts';
import { codeAsGgml, recodeAsGgml } from '../quantize/gptq/ggml.ts';
import { type OutputErrors, quantizeMatrix } from '../quantize/gptq/matrix.ts';
import type { ScaleFailure } from '../quantize/gptq/tasks.ts';
import { CodedBlocks, type CodedTensor } from './coded-blocks.ts';
import { Correction } from './correction.ts';
import { PhaseClock } from './phases.ts';

/** A tensor that calibration codes. */
export interface CalibratedTensor {
  readonly name: string;
  /** GGUF order: row length, rows, and experts where they are stacked. */
  readonly shape: readonly number[];
  readonly type: TypeName;
  readonly statistics: Statistics;
}

export interface GptqOptions extends Omit<ForwardOptions, 'team'> {
  /** The model with tensors that an earlier run has coded, of a run that resumes: what their codes decode to. Else `model`. */
  readonly coded?: ForwardModel;
  /** Those that are to be coded; the others of the model are as they will be in the output. */
  readonly tensors: readonly CalibratedTensor[];
  /** Type of the embeddings where they are coded by themselves; null where they are looked up as they are. */
  readonly embedding: TypeName | null;
  readonly rounding: Rounding;
  /** Part of the mean diagonal that is added to a Hessian's. */
  readonly damping: number;
  readonly actOrder: boolean;
  /** Share of what the inputs of a matrix have lost that its codes make up for; 0: none, and then no second pass. */
  readonly correction: number;
  /** Bytes of Hessians and factors that may stay in memory. */
  readonly tileBytes: number;
  /** Takes the tensors of a step as they become ready. */
  onCoded(coded: readonly CodedTensor[]): void;
  /** Hears of each group before its inputs are gathered. */
  onGroup(group: { layer: number | null; tensors: readonly string[]; done: number; total: number }): void;
}

/**
 * Codes the matrices of a model one group after another, each under the inputs that the already coded part of the model gives it:
 * q, k and v, then o, then gate and up, then down, block by block, then the output. A second pass with the float weights goes
 * beside it where codes make up for what the inputs have lost. The same bytes at any number of threads.
 *
 * @throws NotFiniteActivationError, NotPositiveDefiniteError, MemoryBudgetError, ScratchFileError, and the errors of
 *   ForwardPass
 */
export function calibrateModel(team: Team, options: GptqOptions): CalibrationTimes {
  const { arena } = team;
  const corrects = options.correction > 0 && options.rounding === 'gptq';
  const stateBytes = options.stateBytes / (corrects ? 2 : 1);
  const { embedding } = options;
  const own = new ForwardPass({
    ...options,
    model: options.coded ?? options.model,
    team,
    stateBytes,
    ...(embedding && { onEmbeddings: (x, rows, n) => recodeAsGgml(team, x, rows, n, embedding) }),
  });
  const float = corrects ? new ForwardPass({ ...options, team, stateBytes }) : null;
  const clock = new PhaseClock();
  const run = new Run(team, options, own.stepCount, clock);
  try {
    // What is not counted otherwise is the forward passes.
    clock.time('forward', () => {
      const twins = float?.makers();
      for (const make of own.makers()) {
        const makeTwin = twins?.next().value;
        arena.scoped(() => {
          const step = make();
          run.step(step, makeTwin?.() ?? null);
        });
      }
      arena.scoped(() => run.output(own));
    });
    return clock.times();
  } finally {
    run.close();
    float?.close();
    own.close();
  }
}

const EMBEDDING = 'token_embd.weight';
/** Least damping for a token embedding that is the output too, and how much more a correction is damped (docs/gptq.md). */
const EMBEDDING_DAMPING = 0.3;
const CORRECTION_DAMPING = 10;

/** Rows of the output matrix that are in memory at a time: as many as take this many bytes. */
const OUTPUT_BYTES = 256 << 20;

class Run {
  readonly #clock: PhaseClock;
  readonly #team: Team;
  readonly #options: GptqOptions;
  readonly #planned: ReadonlyMap<string, CalibratedTensor>;
  readonly #pool: TilePool;
  /** Tensors some experts of which are coded. */
  readonly #begun = new Map<string, CodedBlocks>();
  readonly #ready: CodedTensor[] = [];
  readonly #total: number;
  #done = 0;

  constructor(team: Team, options: GptqOptions, steps: number, clock: PhaseClock) {
    this.#clock = clock;
    this.#team = team;
    this.#options = options;
    this.#planned = new Map(options.tensors.map((tensor) => [tensor.name, tensor]));
    this.#pool = new TilePool(team, { maxBytes: options.tileBytes, directory: options.scratchDirectory });
    this.#total = 2 * steps + 1; // most steps have two groups
  }

  close(): void {
    this.#pool.close();
  }

  /** Codes the matrices of a step and lets both passes go on behind it. */
  step(step: Step, twin: Step | null): void {
    for (const group of step.groups) {
      this.#announce(step, group);
      const wanted = group.tensors.flatMap((name) => this.#planned.get(name) ?? []);
      if (wanted.length > 0) this.#under(step, twin, group, (basis) => this.#codeGroup(step, wanted, basis));
      this.#done += 2 / step.groups.length;
    }
    this.#emit();
    step.advance();
    twin?.advance();
  }

  #emit(): void {
    if (this.#ready.length > 0) this.#options.onCoded(this.#ready.splice(0));
  }

  /** Codes the output matrix, some rows at a time. */
  output(pass: ForwardPass): void {
    const step = pass.output();
    const [group] = step.groups;
    const tensor = this.#planned.get(step.matrix);
    if (tensor === undefined) return;
    this.#announce(step, group);
    const { source } = pass;
    const rows = source.rowsOf(step.matrix);
    const atOnce = Math.max(1, Math.floor(OUTPUT_BYTES / (4 * group.columns)));
    this.#under(step, null, group, (basis) => {
      const blocks = new CodedBlocks(tensor);
      for (let row = 0; row < rows; row += atOnce) {
        this.#team.arena.scoped(() => {
          const weight = source.load(step.matrix, row, Math.min(atOnce, rows - row));
          this.#code(weight, basis, blocks, row);
        });
      }
      this.#ready.push(blocks.finished());
      this.#emit();
    });
  }

  #codeGroup(step: Step, wanted: readonly CalibratedTensor[], basis: Basis): void {
    const { expert } = basis.group;
    for (const tensor of wanted) {
      const { name, shape } = tensor;
      const blocks = this.#begun.get(name) ?? new CodedBlocks(tensor);
      this.#begun.set(name, blocks);
      this.#code(step.weights.get(name)!, basis, blocks, (expert ?? 0) * shape[1]);
      if (expert !== null && expert < (shape[2] ?? 1) - 1) continue;
      this.#begun.delete(name);
      this.#ready.push(blocks.finished());
    }
  }

  /** Codes a matrix, rows `row` and following of its tensor; its weights become what the codes decode to. */
  #code(weight: Weight, basis: Basis, blocks: CodedBlocks, row: number): void {
    const { type, statistics, name } = blocks.tensor;
    const { hessian, factor, corrective, order, correction } = basis;
    const { address: weights, rows, columns: n } = weight;
    const { arena, scope } = this.#team;
    arena.scoped(() => {
      const length = bytesOf(type, rows * n);
      const codes = arena.take(length, `codes of ${name}`);
      const common = { weights, rows, n, type, hessian, codes };
      let errors: OutputErrors;
      try {
        if (statistics === 'importance') {
          errors = this.#clock.time('coding', () => codeAsGgml(this.#team, common));
        } else {
          let targets = weights;
          if (correction !== null) {
            targets = arena.takeFloats(rows * n, `targets of ${name}`);
            this.#clock.time('correction', () => correction.target(weight, corrective!, targets));
          }
          const job = { ...common, targets, factor, ...(order && { order }) };
          errors = this.#clock.time('coding', () => quantizeMatrix(this.#team, job));
        }
      } catch (error) {
        throw error instanceof TaskFailure ? scaleOverflow(blocks.tensor, row, error) : error;
      }
      blocks.add(row, scope.bytes(codes, length), errors, {
        tokens: hessian.tokens,
        damping: factor?.damping ?? 0,
        escalations: factor?.escalations ?? 0,
        condition: factor?.condition ?? null,
        deadChannels: basis.deadChannels,
        rounding: statistics === 'importance' ? 'importance' : this.#options.rounding,
      });
    });
  }

  /** Gathers the inputs of a group, and gives `use` what follows from them. */
  #under(step: Step, twin: Step | null, group: InputGroup, use: (basis: Basis) => void): void {
    const [team, { arena }] = [this.#team, this.#team];
    const { rounding, damping, actOrder, correction: share } = this.#options;
    arena.scoped(() => {
      const hessian = new Hessian(team, group.columns, { pool: this.#pool });
      // An expert sees other tokens in one model than in the other.
      const correction =
        twin === null || group.expert !== null
          ? null
          : new Correction(team, group.columns, step.addingMatrix(group), share);
      for (const slab of step.slabs) {
        arena.scoped(() => {
          const own = step.inputOf(group, slab);
          if (own === null) return;
          this.#clock.time('hessian', () => hessian.add(own.x, own.ldx, own.rows));
          if (correction === null) return;
          const float = twin!.inputOf(twin!.groups[step.groups.indexOf(group)], slab)!;
          this.#clock.time('correction', () => correction.add(float, own, twin!, step, slab));
        });
      }
      correction?.finish();
      // Rows of a token embedding are looked up as well, whatever the inputs of the output are.
      const isEmbedding = group.tensors[0] === EMBEDDING;
      const least = isEmbedding ? Math.max(damping, EMBEDDING_DAMPING) : damping;
      const factorBy = (fraction: number, order?: Int32Array) =>
        this.#clock.time('factor', () =>
          factorHessian(team, hessian, {
            damping: fraction,
            tensor: group.tensors[0],
            ...(order && { order }),
          }),
        );
      const order = actOrder ? fallingOrder(hessian.diagonal()) : undefined;
      const factor = rounding === 'gptq' ? factorBy(least, order) : null;
      const corrective = correction && factorBy(CORRECTION_DAMPING * least);
      const deadChannels = hessian.deadChannels().length;
      use({ group, hessian, factor, corrective, order, correction, deadChannels });
      corrective?.free();
      factor?.free();
      hessian.free();
    });
  }

  #announce({ layer }: Step, { tensors }: InputGroup): void {
    this.#options.onGroup({ layer, tensors, done: Math.floor(this.#done), total: this.#total });
  }
}

/** What the matrices of a group are coded by. */
interface Basis {
  readonly group: InputGroup;
  readonly hessian: Hessian;
  /** In the order of processing; null where weights are rounded each by itself. */
  readonly factor: Factor | null;
  /** For the correction, more damped. */
  readonly corrective: Factor | null;
  readonly order: Int32Array | undefined;
  readonly correction: Correction | null;
  readonly deadChannels: number;
}

/** Channels by falling diagonal, equal ones in their own order. */
const fallingOrder = (diagonal: Float64Array): Int32Array =>
  Int32Array.from([...diagonal.keys()].sort((a, b) => diagonal[b] - diagonal[a] || a - b));

function scaleOverflow({ name, type }: CalibratedTensor, first: number, error: TaskFailure): QuantizeError {
  const { row, column } = error.failure as ScaleFailure;
  return new ScaleOverflowError(`a block has a scale beyond the reach of ${type}`, {
    tensor: name,
    expected: 'weights whose block scale fits float16 (up to 65504)',
    got: `values that are not finite, in row ${first + row} from column ${column} on`,
    advice: `keep this tensor in a wider type, for example --tensor-type '${name}=BF16'`,
    cause: error,
  });
}
