import { type GroupInput, type InputGroup, type Pass, type Slab, Step } from './step.ts';
import { inLayer } from './tensors.ts';
import type { Weight } from './weights.ts';

/** A gated feed-forward's matrices and biases (0: none). */
export interface Gated {
  readonly gate: Weight;
  readonly up: Weight;
  readonly down: Weight;
  readonly gateBias: number;
  readonly upBias: number;
}

/** Steps with a gated feed-forward: down(silu(gate(x)) * up(x)). */
export abstract class GatedStep extends Step {
  /** From inputs x (rows x width) to the inputs of down (rows x feedForward), the groups' inputs on the way. */
  protected *gated(weights: Gated, x: number, rows: number): Generator<GroupInput> {
    const [first, second] = this.groups;
    const input = { group: first, x, ldx: weights.gate.columns, rows };
    yield input;
    const n = weights.gate.rows;
    const gate = this.take(rows * n, 'gates');
    const up = this.take(rows * n, 'values');
    this.product(input, weights.gate, weights.gateBias, { x: gate, ld: n });
    this.product(input, weights.up, weights.upBias, { x: up, ld: n });
    this.runRows('gateUp', rows, [gate, up, n]);
    yield { group: second, x: gate, ldx: n, rows };
  }
}

/** x += down(silu(gate(n)) * up(n)), n = norm(x) (`build_ffn` with LLM_FFN_SILU, LLM_FFN_PAR). */
export class FeedForwardStep extends GatedStep {
  readonly #norm: Weight;
  readonly #weights: Gated;
  readonly #downBias: number;

  constructor(pass: Pass, layer: number) {
    const at = (name: string) => inLayer(layer, name);
    const { width, feedForward } = pass.shape;
    const groups: InputGroup[] = [
      { tensors: [at('ffn_gate.weight'), at('ffn_up.weight')], expert: null, columns: width },
      { tensors: [at('ffn_down.weight')], expert: null, columns: feedForward },
    ];
    super(pass, layer, 'feed-forward', groups);
    this.#norm = this.load(at('ffn_norm.weight'));
    this.#weights = {
      gate: this.load(at('ffn_gate.weight')),
      up: this.load(at('ffn_up.weight')),
      down: this.load(at('ffn_down.weight')),
      gateBias: this.vector(at('ffn_gate.bias')),
      upBias: this.vector(at('ffn_up.bias')),
    };
    this.#downBias = this.vector(at('ffn_down.bias'));
  }

  override addingMatrix(group: InputGroup): Weight | null {
    return group === this.groups[1] ? this.#weights.down : null;
  }

  protected override *inputs(slab: Slab): Generator<GroupInput> {
    yield* this.gated(this.#weights, this.readNormed(slab, this.#norm), slab.rows);
  }

  protected override complete(slab: Slab, hidden: GroupInput): void {
    const x = this.readStates(slab);
    const to = { x, ld: this.pass.shape.width };
    this.product(hidden, this.#weights.down, this.#downBias, to, true);
    this.writeStates(this.pass.states, slab, x, hidden.group.tensors[0]);
  }
}
