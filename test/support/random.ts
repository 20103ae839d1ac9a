import { uniform } from '../../src/core/random.ts';

/** Tests never use Math.random. */
export { uniform };

/** n numbers of a source as float32. A loop, which is several times as fast as Float32Array.from. */
export function floats(n: number, next: (i: number) => number): Float32Array {
  const out = new Float32Array(n);
  for (let i = 0; i < n; i++) out[i] = next(i);
  return out;
}

/** Seeded standard normal numbers (Box-Muller). */
export function gaussian(seed: number): () => number {
  const next = uniform(seed);
  return () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
}
