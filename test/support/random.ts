import { uniform } from '../../src/core/random.ts';

/** Tests never use Math.random. */
export { uniform };

/** Seeded standard normal numbers (Box-Muller). */
export function gaussian(seed: number): () => number {
  const next = uniform(seed);
  return () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
}
