import { fromBfloat16, fromFloat16, toBfloat16, toFloat16 } from '../../src/core/float.ts';
import { floats, gaussian, uniform } from './random.ts';

/**
 * Weights of every kind a quantizer meets, n at a time. Each is a function of the index so that blocks differ; all
 * values are finite float32.
 */
export const distributions: Readonly<Record<string, (n: number, seed: number) => Float32Array>> = {
  gaussian: (n, seed) => fill(n, gaussian(seed), (g) => 0.02 * g()),
  'gaussian bf16': (n, seed) => fill(n, gaussian(seed), (g) => fromBfloat16(toBfloat16(0.02 * g()))),
  'gaussian f16': (n, seed) => fill(n, gaussian(seed), (g) => fromFloat16(toFloat16(0.02 * g()))),
  'heavy tails': (n, seed) => fill(n, gaussian(seed), (g) => 0.02 * g() ** 3),
  cauchy: (n, seed) => fill(n, uniform(seed), (u) => 0.01 * Math.tan(Math.PI * (u() - 0.5))),
  laplace: (n, seed) => fill(n, uniform(seed), (u) => Math.log(1 - u()) * (u() < 0.5 ? -0.1 : 0.1)),
  uniform: (n, seed) => fill(n, uniform(seed), (u) => 2 * u() - 1),
  'positive only': (n, seed) => fill(n, uniform(seed), (u) => 1 + u()),
  'negative only': (n, seed) => fill(n, uniform(seed), (u) => -1 - u()),
  zeros: (n) => new Float32Array(n),
  'negative zeros': (n) => new Float32Array(n).fill(-0),
  'positive constants': (n, seed) => perBlock(n, uniform(seed), (u) => u() * 10),
  'negative constants': (n, seed) => perBlock(n, uniform(seed), (u) => -u()),
  'constant sub-blocks': (n, seed) => stepwise(n, 16, gaussian(seed)),
  'mostly zero': (n, seed) => fill(n, uniform(seed), (u) => (u() < 0.97 ? 0 : u() - 0.5)),
  'zero blocks between': (n, seed) => {
    const values = distributions.gaussian(n, seed);
    for (let i = 0; i < n; i++) if (Math.floor(i / 32) % 3 === 0) values[i] = 0;
    return values;
  },
  'one outlier': (n, seed) => {
    const values = distributions.gaussian(n, seed);
    const next = uniform(seed + 1);
    for (let i = 0; i < n; i += 256) values[i + Math.floor(next() * 256)] = next() < 0.5 ? 2 : -2;
    return values;
  },
  ternary: (n, seed) => fill(n, uniform(seed), (u) => 0.05 * (Math.floor(u() * 3) - 1)),
  'two values': (n, seed) => fill(n, uniform(seed), (u) => (u() < 0.5 ? -0.3 : 0.3)),
  subnormals: (n, seed) => fill(n, gaussian(seed), (g) => g() * 2 ** -130),
  'float16 subnormals': (n, seed) => fill(n, gaussian(seed), (g) => g() * 2 ** -20),
  'tiny scales': (n, seed) => fill(n, gaussian(seed), (g) => g() * 1e-15),
  huge: (n, seed) => fill(n, gaussian(seed), (g) => g() * 3e4),
  'mixed magnitudes': (n, seed) => fill(n, uniform(seed), (u) => (u() - 0.5) * 10 ** (8 * u() - 6)),
  'ties of 8 bits': (n, seed) => grid(n, 254, seed),
  'ties of 4 bits': (n, seed) => grid(n, 16, seed),
  'ties of 3 bits': (n, seed) => grid(n, 14, seed),
  ramp: (n) => floats(n, (i) => ((i % 256) - 128) / 64),
};

function fill(n: number, source: () => number, value: (source: () => number) => number): Float32Array {
  return floats(n, () => value(source));
}

/** One value for each run of 256. */
function perBlock(n: number, source: () => number, value: (source: () => number) => number): Float32Array {
  const out = new Float32Array(n);
  for (let i = 0; i < n; i += 256) out.fill(value(source), i, i + 256);
  return out;
}

function stepwise(n: number, run: number, source: () => number): Float32Array {
  const out = new Float32Array(n);
  for (let i = 0; i < n; i += run) out.fill(source(), i, i + run);
  return out;
}

/** Multiples of half a step of a grid with `steps` half steps on each side: every second value is a tie. */
function grid(n: number, steps: number, seed: number): Float32Array {
  const next = uniform(seed);
  const out = floats(n, () => (Math.floor(next() * (2 * steps + 1)) - steps) / 64);
  for (let i = 0; i < n; i += 32) out[i] = steps / 64; // so that each block's maximum fixes the step
  return out;
}
