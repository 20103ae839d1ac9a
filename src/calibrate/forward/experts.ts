import { type Gated, GatedStep } from './feed-forward.ts';
import type { StateStore } from './states.ts';
import { type GroupInput, type Pass, type Slab, Step } from './step.ts';
import { inLayer } from './tensors.ts';
import type { Weight } from './weights.ts';

/** Which experts each token of a slab goes to, and what their results count: `used` of both for each token. */
interface Routes {
  readonly experts: Int32Array;
  readonly shares: Float32Array;
}

/** Smallest divisor of the shares: ggml's clamp, the smallest normal float16. */
const SMALLEST_SUM = 6.103515625e-5;

/** What a layer's router leaves to its experts. */
export interface Routing {
  /** By slab. */
  readonly routes: Routes[];
  /** States behind the layer as the experts add to them one after another; the pass keeps those before it meanwhile. */
  readonly next: StateStore;
}

/**
 * Chooses experts (`build_moe_ffn` as llama.cpp's graph of llama calls it): softmax over all experts, the likeliest are used,
 * their probabilities divided by their sum.
 */
export class RouterStep extends Step {
  readonly #norm: Weight;
  readonly #router: Weight;
  readonly routing: Routing;

  constructor(pass: Pass, layer: number) {
    const name = inLayer(layer, 'ffn_gate_inp.weight');
    super(pass, layer, 'router', [{ tensors: [name], expert: null, columns: pass.shape.width }]);
    this.#norm = this.load(inLayer(layer, 'ffn_norm.weight'));
    this.#router = this.load(name);
    this.routing = { routes: [], next: pass.newStore() };
  }

  protected override *inputs(slab: Slab): Generator<GroupInput> {
    const [group] = this.groups;
    yield { group, x: this.readNormed(slab, this.#norm), ldx: group.columns, rows: slab.rows };
  }

  protected override complete(slab: Slab, input: GroupInput): void {
    const { team, shape } = this.pass;
    const { experts, usedExperts } = shape;
    const { group, rows } = input;
    const logits = this.take(rows * experts, 'logits');
    this.product(input, this.#router, 0, { x: logits, ld: experts });
    this.routing.routes[slab.index] = routesOf(
      team.scope.floats(logits, rows * experts),
      experts,
      usedExperts,
    );
    this.writeStates(this.routing.next, slab, this.readStates(slab), group.tensors[0]);
  }
}

function routesOf(logits: Float32Array, experts: number, used: number): Routes {
  const tokens = logits.length / experts;
  const routes = { experts: new Int32Array(tokens * used), shares: new Float32Array(tokens * used) };
  const ranks = Array.from({ length: experts }, (_, expert) => expert);
  for (let token = 0; token < tokens; token++) {
    const row = logits.subarray(token * experts, (token + 1) * experts);
    const chosen = ranks.toSorted((a, b) => row[b] - row[a] || a - b).slice(0, used);
    const exponentials = row.map((logit) => Math.exp(logit - row[chosen[0]]));
    const all = exponentials.reduce((sum, value) => sum + value, 0);
    const probabilities = chosen.map((expert) => exponentials[expert] / all);
    const sum = Math.max(
      SMALLEST_SUM,
      probabilities.reduce((total, p) => total + p, 0),
    );
    routes.experts.set(chosen, token * used);
    routes.shares.set(
      probabilities.map((p) => p / sum),
      token * used,
    );
  }
  return routes;
}

/** One expert: its results, by their shares, for the tokens that were sent to it. Groups see those tokens only. */
export class ExpertStep extends GatedStep {
  readonly #expert: number;
  readonly #norm: Weight;
  readonly #weights: Gated;
  readonly #routing: Routing;

  constructor(pass: Pass, layer: number, expert: number, routing: Routing) {
    const at = (name: string) => inLayer(layer, name);
    const { width, feedForward } = pass.shape;
    super(pass, layer, `expert ${expert}`, [
      { tensors: [at('ffn_gate_exps.weight'), at('ffn_up_exps.weight')], expert, columns: width },
      { tensors: [at('ffn_down_exps.weight')], expert, columns: feedForward },
    ]);
    this.#expert = expert;
    this.#routing = routing;
    this.#norm = this.load(at('ffn_norm.weight'));
    this.#weights = {
      gate: this.load(at('ffn_gate_exps.weight'), expert * feedForward, feedForward),
      up: this.load(at('ffn_up_exps.weight'), expert * feedForward, feedForward),
      down: this.load(at('ffn_down_exps.weight'), expert * width, width),
      gateBias: 0,
      upBias: 0,
    };
  }

  protected override *inputs(slab: Slab): Generator<GroupInput> {
    const { team, shape } = this.pass;
    const { width } = shape;
    const sent = this.#sent(slab);
    if (sent.length === 0) return;
    const x = this.readNormed(slab, this.#norm);
    // The tokens are in ascending order, so that none is overwritten before it has been moved.
    const all = team.scope.floats(x, slab.rows * width);
    for (const [row, { token }] of sent.entries()) {
      all.copyWithin(row * width, token * width, (token + 1) * width);
    }
    yield* this.gated(this.#weights, x, sent.length);
  }

  protected override complete(slab: Slab, hidden: GroupInput): void {
    const { team, shape } = this.pass;
    const { width } = shape;
    const { next } = this.#routing;
    const { group, rows } = hidden;
    const results = this.take(rows * width, 'results');
    this.product(hidden, this.#weights.down, 0, { x: results, ld: width });
    const x = this.readStates(slab, next);
    for (const [row, { token, share }] of this.#sent(slab).entries()) {
      team.scope.compute.addScaled(x + 4 * token * width, results + 4 * row * width, width, share);
    }
    this.writeStates(next, slab, x, group.tensors[0]);
  }

  /** Tokens of a slab that come to this expert, in order, and what its result counts for each. */
  #sent(slab: Slab): { token: number; share: number }[] {
    const { usedExperts } = this.pass.shape;
    const { experts, shares } = this.#routing.routes[slab.index];
    const sent: { token: number; share: number }[] = [];
    for (const [place, expert] of experts.entries()) {
      if (expert !== this.#expert) continue;
      sent.push({ token: Math.floor(place / usedExperts), share: shares[place] });
    }
    return sent;
  }

  protected override finish(): void {
    if (this.#expert < this.pass.shape.experts - 1) return;
    this.pass.states.close();
    this.pass.states = this.#routing.next;
  }
}
