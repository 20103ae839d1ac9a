import type { Placed } from '../../compute/tasks.ts';
import type { Team } from '../../compute/team.ts';
import { UsageError } from '../../core/errors.ts';
import type { Activations } from './activations.ts';
import { AttentionStep } from './attention.ts';
import { ExpertStep, RouterStep } from './experts.ts';
import { FeedForwardStep } from './feed-forward.ts';
import { OutputStep } from './output.ts';
import { ropeTable } from './rope.ts';
import { type ForwardModel, type ModelShape, modelShape } from './shape.ts';
import { StateStore } from './states.ts';
import { type GroupInput, multiplyInputs, type Pass, type Slab, type Step } from './step.ts';
import { checkTensors } from './tensors.ts';
import { type Weight, WeightSource } from './weights.ts';

export interface ForwardOptions {
  /** Has the modules '#compute-tasks' and '#forward-tasks'. */
  readonly team: Team;
  readonly model: ForwardModel;
  /** Token ids, windows of equal length; each is a sequence of its own. */
  readonly windows: readonly Int32Array[];
  /** Bytes that hidden states, and inputs that are needed twice, may take outside the team's memory. */
  readonly stateBytes: number;
  /** Where a scratch file for the rest may be made. */
  readonly scratchDirectory: string;
  /** Quantizes the inputs of every product; null for a calculation in float32. */
  readonly activations?: Activations | null;
  /** May change embeddings after they are looked up: `rows` rows of `n` float32 at `x`. */
  readonly onEmbeddings?: (x: number, rows: number, n: number) => void;
}

/** Steps of a pass. */
export const stepsOf = ({ layers, experts }: ModelShape): number => layers * (experts > 0 ? 2 + experts : 2);

/** Tokens that go through a step together: enough for products at full speed. */
const SLAB_TOKENS = 2048;

/**
 * The forward pass of a decoder in float32 over many windows, step by step: the weights of one step at a time are in memory, all
 * windows pass it, then the next is read. It takes what it needs from the team's arena; `close` gives it back.
 */
export class ForwardPass {
  readonly team: Team;
  readonly shape: ModelShape;
  /** For tensors outside the steps. */
  readonly source: WeightSource;
  readonly #pass: Pass;
  readonly #windows: readonly Int32Array[];
  readonly #mark: number;
  readonly #onEmbeddings: ForwardOptions['onEmbeddings'];

  /**
   * Reads metadata only, and checks that the model is one it can run.
   *
   * @throws UsageError, ForwardMetadataError, ForwardTensorError, MemoryBudgetError
   */
  constructor(options: ForwardOptions) {
    const { team, model, windows, stateBytes, scratchDirectory, activations = null } = options;
    this.#onEmbeddings = options.onEmbeddings;
    const shape = modelShape(model);
    this.team = team;
    this.shape = shape;
    this.source = new WeightSource(team, model, checkTensors(model, shape));
    this.#windows = windows;
    this.#mark = team.arena.mark();
    const context = checkWindows(windows, shape.vocabulary);
    const perSlab = Math.max(1, Math.floor(SLAB_TOKENS / context));
    const slabs = Array.from({ length: Math.ceil(windows.length / perSlab) }, (_, index): Slab => {
      const firstWindow = index * perSlab;
      const count = Math.min(perSlab, windows.length - firstWindow);
      return { index, firstWindow, windows: count, rows: count * context };
    });
    // With experts two stores are needed at a time.
    const stores = shape.experts > 0 ? 2 : 1;
    const budget = stateBytes / stores;
    const sizes = slabs.map(({ rows }) => rows * shape.width);
    const keepBytes = stateBytes - stores * 4 * shape.width * windows.length * context;
    const newStore = () => new StateStore(sizes, budget, scratchDirectory);
    const rotations = team.arena.takeFloats(context * 2 * shape.headSize, 'the rotary table');
    const table = ropeTable(shape.rope, shape.headSize, context, this.#ropeFactors(team, context));
    team.scope.floats(rotations, table.length).set(table);
    const { source } = this;
    const states = newStore();
    this.#pass = { team, shape, source, context, slabs, activations, states, rotations, keepBytes, newStore };
  }

  /** Steps that `steps` yields, for progress. */
  get stepCount(): number {
    return stepsOf(this.shape);
  }

  /** c = inputs W^T, or added to c: as the steps multiply, inputs quantized if they are to be. */
  multiply(input: GroupInput, weight: Weight, c: Placed): void {
    multiplyInputs(this.#pass, input, weight, c, false);
  }

  /**
   * Looks up the embeddings, then yields the steps of all layers in order. Before it asks for the next, the caller must
   * have called a step's `advance`, once. A step's weights are gone when the next begins.
   */
  *steps(): Generator<Step> {
    const { arena } = this.team;
    for (const make of this.makers()) {
      const mark = arena.mark();
      try {
        const step = make();
        yield step;
        if (!step.advanced) throw new Error(`${step.title} of layer ${step.layer} was left out`);
      } finally {
        arena.release(mark);
      }
    }
  }

  /**
   * The same for callers that run two passes side by side: what makes each step, which takes its weights from the arena. The
   * caller gives them back.
   */
  *makers(): Generator<() => Step> {
    this.#embed();
    for (let layer = 0; layer < this.shape.layers; layer++) yield* this.#makersOf(layer);
  }

  /** What comes behind the steps: the inputs of the output matrix. */
  output(): OutputStep {
    return new OutputStep(this.#pass);
  }

  /** Gives memory and scratch files back. */
  close(): void {
    this.#pass.states.close();
    this.team.arena.release(this.#mark);
  }

  *#makersOf(layer: number): Generator<() => Step> {
    const pass = this.#pass;
    yield () => new AttentionStep(pass, layer);
    if (pass.shape.experts === 0) yield () => new FeedForwardStep(pass, layer);
    else {
      let router: RouterStep | null = null;
      yield () => (router = new RouterStep(pass, layer));
      for (let expert = 0; expert < pass.shape.experts; expert++) {
        yield () => new ExpertStep(pass, layer, expert, router!.routing);
      }
    }
  }

  #embed(): void {
    const { team, shape, states, slabs, context } = this.#pass;
    for (const { index, firstWindow, windows, rows } of slabs) {
      team.arena.scoped(() => {
        const x = team.arena.takeFloats(rows * shape.width, 'embeddings');
        const ids = new Int32Array(rows);
        for (let w = 0; w < windows; w++) ids.set(this.#windows[firstWindow + w], w * context);
        this.source.gather('token_embd.weight', ids, x);
        this.#onEmbeddings?.(x, rows, shape.width);
        states.write(index, team.scope.floats(x, rows * shape.width));
      });
    }
  }

  /** `llama_model::get_rope_factors`. */
  #ropeFactors(team: Team, context: number): Float32Array | null {
    const long = context > this.shape.rope.originalContext;
    const names = ['rope_freqs.weight', `rope_factors_${long ? 'long' : 'short'}.weight`];
    const name = names.find((candidate) => this.source.has(candidate));
    if (name === undefined) return null;
    return team.arena.scoped(() => {
      const { address, columns } = this.source.load(name);
      return team.scope.floats(address, columns).slice();
    });
  }
}

function checkWindows(windows: readonly Int32Array[], vocabulary: number): number {
  const context = windows[0]?.length ?? 0;
  if (context < 1 || windows.some(({ length }) => length !== context)) {
    throw new UsageError('the forward pass needs windows of one length, of at least one token', {
      got: `lengths ${[...new Set(windows.map(({ length }) => length))].join(', ') || 'none'}`,
    });
  }
  for (const window of windows) {
    const token = window.find((id) => id < 0 || id >= vocabulary);
    if (token === undefined) continue;
    throw new UsageError('the text has a token that the model does not know', {
      expected: `ids below ${vocabulary}`,
      got: String(token),
      advice: 'tokenizer and weights belong to different models',
    });
  }
  return context;
}
