import type { Rope } from './shape.ts';

const f = Math.fround;

/** Rotations that YaRN leaves alone, and those that it scales in full (`llama_hparams`; no key of these graphs sets them). */
const FAST = 32;
const SLOW = 1;

/**
 * Sines and cosines for the kernels `ropePairs` and `ropeHalves`: for each of `context` positions `size` cosines, one
 * an element of a head, then `size` sines, negative for the first of each pair. `factors` divide the frequencies, one a pair.
 * The float operations of `ggml_rope_cache_init` in their order, so that angles agree with the engine's to the bit.
 */
export function ropeTable(
  rope: Rope,
  size: number,
  context: number,
  factors: ArrayLike<number> | null,
): Float32Array {
  const table = new Float32Array(context * 2 * size);
  const pairs = size / 2;
  const step = f(rope.base ** f(-2 / size));
  const [low, high] = rope.yarnContext === null ? [0, 0] : rampOf(rope, size, rope.yarnContext);
  for (let position = 0; position < context; position++) {
    const cosines = position * 2 * size;
    const sines = cosines + size;
    for (let pair = 0, theta = position; pair < pairs; pair++, theta = f(theta * step)) {
      const extrapolated = f(theta / (factors?.[pair] ?? 1));
      let angle = f(rope.scale * extrapolated);
      if (rope.yarnContext !== null) {
        const ramp = f(f(pair - low) / Math.max(f(0.001), f(high - low)));
        const mix = f(1 - Math.min(1, Math.max(0, ramp)));
        angle = f(f(angle * f(1 - mix)) + f(extrapolated * mix));
      }
      const cosine = f(Math.cos(angle)) * rope.magnitude;
      const sine = f(Math.sin(angle)) * rope.magnitude;
      const [first, second] = rope.layout === 'pairs' ? [2 * pair, 2 * pair + 1] : [pair, pair + pairs];
      table[cosines + first] = table[cosines + second] = cosine;
      table[sines + first] = -sine;
      table[sines + second] = sine;
    }
  }
  return table;
}

/** Pairs between which YaRN goes from one frequency to the other (`ggml_rope_yarn_corr_dims`). */
function rampOf({ base }: Rope, size: number, context: number): [low: number, high: number] {
  const pairOf = (rotations: number) =>
    f(f(size * f(Math.log(f(context / f(f(rotations * 2) * f(Math.PI)))))) / f(2 * f(Math.log(base))));
  return [Math.max(0, Math.floor(pairOf(FAST))), Math.min(size - 1, Math.ceil(pairOf(SLOW)))];
}
