import { type GroupInput, type InputGroup, type Pass, type Slab, Step } from './step.ts';
import { QUERIES } from './tasks.ts';
import { inLayer } from './tensors.ts';
import type { Weight } from './weights.ts';

/**
 * x += attention(norm(x)): grouped-query attention with rotary positions, causal within a window
 * (`build_qkv` and `build_attn` of llama.cpp's graphs of llama, qwen2 and qwen3).
 */
export class AttentionStep extends Step {
  readonly #norm: Weight;
  /** q, k and v, or the three in one; their results lie side by side. */
  readonly #projections: readonly { readonly weight: Weight; readonly bias: number }[];
  readonly #output: Weight;
  readonly #outputBias: number;
  readonly #queryNorm: number;
  readonly #keyNorm: number;

  constructor(pass: Pass, layer: number) {
    const at = (name: string) => inLayer(layer, name);
    const fused = pass.source.has(at('attn_qkv.weight'));
    const names = (fused ? ['attn_qkv'] : ['attn_q', 'attn_k', 'attn_v']).map(at);
    const { width, heads, headSize } = pass.shape;
    super(pass, layer, 'attention', [
      { tensors: names.map((name) => `${name}.weight`), expert: null, columns: width },
      { tensors: [at('attn_output.weight')], expert: null, columns: heads * headSize },
    ]);
    this.#norm = this.load(at('attn_norm.weight'));
    this.#projections = names.map((name) => ({
      weight: this.load(`${name}.weight`),
      bias: this.vector(`${name}.bias`),
    }));
    this.#output = this.load(at('attn_output.weight'));
    this.#outputBias = this.vector(at('attn_output.bias'));
    this.#queryNorm = this.vector(at('attn_q_norm.weight'));
    this.#keyNorm = this.vector(at('attn_k_norm.weight'));
  }

  override addingMatrix(group: InputGroup): Weight | null {
    return group === this.groups[1] ? this.#output : null;
  }

  protected override *inputs(slab: Slab): Generator<GroupInput> {
    const { team, shape, context, rotations } = this.pass;
    const { width, heads, kvHeads, headSize, epsilon, rope } = shape;
    const { rows } = slab;
    const [projected, attended] = this.groups;
    const ld = (heads + 2 * kvHeads) * headSize;
    const ldo = heads * headSize;

    const normed = this.readNormed(slab, this.#norm);
    const input = { group: projected, x: normed, ldx: width, rows };
    yield input;

    const qkv = this.take(rows * ld, 'queries, keys and values'); // rows x (heads + 2 kvHeads) x headSize
    let column = 0;
    for (const { weight, bias } of this.#projections) {
      this.product(input, weight, bias, { x: qkv + 4 * column, ld });
      column += weight.rows;
    }
    const halves = Number(rope.layout === 'halves');
    const norms = [this.#queryNorm, this.#keyNorm, epsilon];
    this.runRows('rotate', rows, [qkv, ld, context, heads, kvHeads, headSize, rotations, halves, ...norms]);
    const out = this.take(rows * ldo, 'attention'); // rows x heads x headSize
    const scores = this.take(team.threads * QUERIES * context, 'attention scores');
    const args = [qkv, ld, out, ldo, context, heads, kvHeads, headSize, scores];
    team.run('attend', slab.windows * heads, args);
    yield { group: attended, x: out, ldx: ldo, rows };
  }

  protected override complete(slab: Slab, attended: GroupInput): void {
    const x = this.readStates(slab);
    const to = { x, ld: this.pass.shape.width };
    this.product(attended, this.#output, this.#outputBias, to, true);
    this.writeStates(this.pass.states, slab, x, attended.group.tensors[0]);
  }
}
