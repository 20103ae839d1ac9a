import { gaussian, uniform } from './random.ts';

/** Importances of every kind an importance matrix may hold, n columns at a time: finite, not negative. */
export const importances: Readonly<Record<string, (n: number, seed: number) => Float32Array>> = {
  'all 1': (n) => new Float32Array(n).fill(1),
  'random positive': (n, seed) => fill(n, uniform(seed), (u) => 0.05 + 10 * u()),
  // Four standard deviations to both sides span about six decades.
  'log-normal': (n, seed) => fill(n, gaussian(seed), (g) => Math.exp((Math.log(1e6) / 8) * g())),
  'ratios of 1e6': (n, seed) => fill(n, uniform(seed), (u) => (u() < 0.1 ? 1e3 : 1e-3)),
  'many zeros': (n, seed) => fill(n, uniform(seed), (u) => (u() < 0.8 ? 0 : u())),
  'zero runs': (n, seed) => {
    const values = importances['random positive'](n, seed);
    for (let i = 0; i < n; i++) if (Math.floor(i / 16) % 5 < 3) values[i] = 0;
    return values;
  },
  'all zero': (n) => new Float32Array(n),
  'tiny constant': (n) => new Float32Array(n).fill(1e-30),
  subnormal: (n, seed) => fill(n, uniform(seed), (u) => u() * 1e-40),
  'some huge': (n, seed) => fill(n, uniform(seed), (u) => (u() < 0.05 ? 1e30 : u())),
  // Products with weights leave float32: ggml's bytes still do not depend on anything but these numbers.
  'near the largest float32': (n, seed) => fill(n, uniform(seed), (u) => 3.4e38 * u()),
};

function fill(n: number, source: () => number, value: (source: () => number) => number): Float32Array {
  return Float32Array.from({ length: n }, () => value(source));
}
