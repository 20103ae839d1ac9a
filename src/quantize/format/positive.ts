import { nearestInt } from './nearest.ts';

const EPS = Math.fround(1e-15);
const f = Math.fround;

/**
 * Scale of values coded without sign (the scales or minima of a super-block, magnitudes), x ~ scale * code with codes 0 .. top: of nine inverse scales around
 * top / max the one with the least weighted error, then single codes move, up to five times over all, as long as the
 * error of the least-squares scale falls. Fills codes and returns the scale; both are 0 if no x is positive (or all
 * are nearly 0). ggml: make_qp_quants, which keeps codes as bytes, so that those of negative x wrap.
 */
export function searchPositive(
  x: Float32Array,
  weights: Float32Array,
  codes: Uint8Array,
  top: number,
): number {
  codes.fill(0);
  let max = 0;
  for (const value of x) max = max > value ? max : value;
  if (max < EPS) return 0;

  const errorOf = (i: number, scale: number, code: number): number => {
    const difference = f(x[i] - f(scale * code));
    return f(f(weights[i] * difference) * difference);
  };
  const codeOf = (v: number) => Math.min(top, nearestInt(v));

  let inverse = f(top / max);
  let best = 0;
  for (let i = 0; i < x.length; i++) {
    codes[i] = nearestInt(f(inverse * x[i]));
    best = f(best + errorOf(i, f(1 / inverse), codes[i]));
  }
  for (const step of [-4, -3, -2, -1, 1, 2, 3, 4]) {
    const candidate = f(f(f(f(0.1) * step) + top) / max);
    let error = 0;
    for (let i = 0; i < x.length; i++) {
      error = f(error + errorOf(i, f(1 / candidate), codeOf(f(candidate * x[i]))));
    }
    if (error < best) [best, inverse] = [error, candidate];
  }

  const lxTerm = (i: number, code: number): number => f(f(weights[i] * x[i]) * code);
  const l2Term = (i: number, code: number): number => f(f(weights[i] * code) * code);
  let [lx, l2] = [0, 0];
  for (let i = 0; i < x.length; i++) {
    const code = codeOf(f(inverse * x[i]));
    codes[i] = code;
    lx = f(lx + lxTerm(i, code));
    l2 = f(l2 + l2Term(i, code));
  }
  for (let pass = 0, changed = true; pass < 5 && changed; pass++) {
    changed = false;
    for (let i = 0; i < x.length; i++) {
      const lxOthers = f(lx - lxTerm(i, codes[i]));
      const l2Others = f(l2 - l2Term(i, codes[i]));
      if (!(lxOthers > 0 && l2Others > 0)) continue;
      const code = codeOf(f(f(x[i] * l2Others) / lxOthers));
      if (code === codes[i]) continue;
      const lxNew = f(lxOthers + lxTerm(i, code));
      const l2New = f(l2Others + l2Term(i, code));
      if (f(f(lxNew * lxNew) * l2) > f(f(lx * lx) * l2New)) {
        [codes[i], lx, l2, changed] = [code, lxNew, l2New, true];
      }
    }
  }
  return l2 > 0 ? f(lx / l2) : 0;
}
