import { type GroupInput, type Pass, type Slab, Step } from './step.ts';
import type { Weight } from './weights.ts';

const OUTPUT = 'output.weight';
const EMBEDDING = 'token_embd.weight';

/**
 * The final norm, and with it the inputs of the output matrix, which is the embedding where the model has none of its own. The
 * matrix itself is not loaded: of all matrices it may be the largest by far.
 */
export class OutputStep extends Step {
  readonly #norm: Weight;
  /** Name of the output matrix. */
  readonly matrix: string;

  constructor(pass: Pass) {
    const matrix = pass.source.has(OUTPUT) ? OUTPUT : EMBEDDING;
    super(pass, null, 'output', [{ tensors: [matrix], expert: null, columns: pass.shape.width }]);
    this.matrix = matrix;
    this.#norm = this.load('output_norm.weight');
  }

  /** The states stay as they are. */
  protected override *inputs(slab: Slab): Generator<GroupInput> {
    const [group] = this.groups;
    yield { group, x: this.readNormed(slab, this.#norm), ldx: group.columns, rows: slab.rows };
  }

  /** Logits are the caller's: what he needs of them differs, and all of them seldom fit. */
  protected override complete(): void {}
}
