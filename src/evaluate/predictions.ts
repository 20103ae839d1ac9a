import type { ForwardPass } from '../calibrate/forward/forward.ts';
import type { OutputStep } from '../calibrate/forward/output.ts';
import { ROWS, STATE_BYTES } from '../calibrate/forward/tasks.ts';
import type { Weight } from '../calibrate/forward/weights.ts';
import type { Team } from '../compute/team.ts';
import type { TokenFigures } from './statistics.ts';

/** Floats of logits that are held of each model at a time, at most. */
const LOGITS = 1 << 24;

/** Numbers of a state (`STATE_BYTES`): of the model, then of the base, then of both. */
const SLOTS = STATE_BYTES / 8;
const BASE = 3;
const CROSS = 6;
const START = [Number.NEGATIVE_INFINITY, 0, -1, Number.NEGATIVE_INFINITY, 0, -1, 0, 0];

/**
 * How a model, and a base if there is one, predict the tokens behind the first half of each window (`llama-perplexity`: those
 * that follow a token at context / 2 or later). Both passes have advanced through all their steps over the same windows.
 *
 * The vocabulary is taken in parts for which the output matrices fit in the arena, the tokens slab by slab, so that the logits
 * of a few tokens are all that is ever held. What is kept of a token is its state (`addToDivergence`).
 */
export function predictions(
  model: ForwardPass,
  base: ForwardPass | null,
  windows: readonly Int32Array[],
): TokenFigures {
  const { team } = model;
  return team.arena.scoped(() => {
    const heads = (base === null ? [model] : [base, model]).map((pass) => new Head(pass));
    const context = windows[0].length;
    const first = Math.floor(context / 2);
    const perWindow = context - 1 - first;
    const targets = windows.flatMap((window) => [...window.subarray(first + 1)]);
    const count = targets.length;
    const address = team.arena.take(count * STATE_BYTES, 'figures of the tokens');
    const states = team.scope.doubles(address, count * SLOTS);
    for (let token = 0; token < count; token++) states.set(START, token * SLOTS);
    const targetLogits = heads.map(() => new Float64Array(count));

    const { vocabulary } = model.shape;
    const rowBytes = heads.reduce((sum, { width }) => sum + 4 * width, 0);
    const part = Math.max(1, Math.min(vocabulary, Math.floor(team.arena.free / 2 / rowBytes)));
    for (let from = 0; from < vocabulary; from += part) {
      const n = Math.min(part, vocabulary - from);
      team.arena.scoped(() => {
        for (const head of heads) head.load(from, n);
        for (const { index, firstWindow, windows: inSlab } of heads[0].output.slabs) {
          team.arena.scoped(() => {
            const xs = heads.map((head) => head.inputs(index, context, first, perWindow));
            const rows = inSlab * perWindow;
            const block = Math.max(ROWS, Math.floor(LOGITS / n));
            const logits = heads.map(() => team.arena.takeFloats(Math.min(block, rows) * n, 'logits'));
            for (let row = 0; row < rows; row += block) {
              const m = Math.min(block, rows - row);
              const token = firstWindow * perWindow + row;
              for (const [i, head] of heads.entries()) {
                head.multiply(xs[i] + 4 * row * head.width, m, logits[i]);
                collect(team.scope.floats(logits[i], m * n), n, from, targets, token, targetLogits[i]);
              }
              const [x, y] = heads.length === 2 ? logits : [0, logits[0]];
              const args = [m, x, y, n, from, address + token * STATE_BYTES];
              team.run('divergence', Math.ceil(m / ROWS), args);
            }
          });
        }
      });
    }
    return figuresOf(states, targetLogits);
  });
}

/** Takes the logits of the tokens that came, where they lie in this part: `n` logits a row from index `from` on, rows from `token` on. */
function collect(
  logits: Float32Array,
  n: number,
  from: number,
  targets: readonly number[],
  token: number,
  to: Float64Array,
): void {
  for (let row = 0; row < logits.length / n; row++) {
    const column = targets[token + row] - from;
    if (column >= 0 && column < n) to[token + row] = logits[row * n + column];
  }
}

function figuresOf(states: Float64Array, targetLogits: readonly Float64Array[]): TokenFigures {
  const count = states.length / SLOTS;
  const lossOf = (logits: Float64Array, slot: number) =>
    Float64Array.from({ length: count }, (_, token) => normalizer(states, token, slot) - logits[token]);
  const loss = lossOf(targetLogits[targetLogits.length - 1], 0);
  if (targetLogits.length === 1) return { loss, base: null };
  let agreeing = 0;
  const divergence = Float64Array.from({ length: count }, (_, token) => {
    const at = token * SLOTS;
    if (states[at + 2] === states[at + BASE + 2]) agreeing++;
    const mean = states[at + CROSS] / states[at + BASE + 1]; // of base logit - logit, under the base
    return mean - normalizer(states, token, BASE) + normalizer(states, token, 0);
  });
  return { loss, base: { loss: lossOf(targetLogits[0], BASE), divergence, agreeing } };
}

/** ln of the sum of e^logit. */
const normalizer = (states: Float64Array, token: number, slot: number): number =>
  states[token * SLOTS + slot] + Math.log(states[token * SLOTS + slot + 1]);

/** A part of a model's output matrix, and what it is multiplied with. */
class Head {
  readonly output: OutputStep;
  readonly width: number;
  readonly #team: Team;
  readonly #pass: ForwardPass;
  /** The part's rows, and the address of their biases (0: none). */
  #matrix: Weight | null = null;
  #bias = 0;

  constructor(pass: ForwardPass) {
    this.output = pass.output();
    this.width = pass.shape.width;
    this.#team = pass.team;
    this.#pass = pass;
  }

  /** Loads rows of the matrix. */
  load(first: number, rows: number): void {
    const { source } = this.#pass;
    this.#matrix = source.load(this.output.matrix, first, rows);
    const bias = 'output.bias';
    this.#bias = source.has(bias) ? source.load(bias).address + 4 * first : 0;
  }

  /** Inputs for the tokens `first` to `first + count - 1` of each window of a slab, without gaps. */
  inputs(slab: number, context: number, first: number, count: number): number {
    const { windows, rows } = this.output.slabs[slab];
    const { x } = this.output.inputOf(this.output.groups[0], this.output.slabs[slab])!;
    const floats = this.#team.scope.floats(x, rows * this.width);
    for (let window = 0; window < windows; window++) {
      const start = (window * context + first) * this.width;
      floats.copyWithin(window * count * this.width, start, start + count * this.width);
    }
    return x;
  }

  /** Logits of m rows at x: m x rows of the part. */
  multiply(x: number, m: number, logits: number): void {
    const matrix = this.#matrix!;
    const n = matrix.rows;
    const [group] = this.output.groups;
    const { arena } = this.#team;
    arena.scoped(() =>
      this.#pass.multiply({ group, x, ldx: this.width, rows: m }, matrix, { x: logits, ld: n }),
    );
    if (this.#bias !== 0) this.#team.run('addBias', Math.ceil(m / ROWS), [m, logits, n, n, this.#bias]);
  }
}
