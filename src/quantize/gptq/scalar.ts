import { roundEven } from '../format/rounding.ts';
import type { BlockKernels } from './block-kernels.ts';

const f = Math.fround;
/** Candidates that are judged at a time. */
const LANES = 8;

/** The readable twins of the kernels, over a buffer. */
export function scalarBlockKernels(buffer: ArrayBufferLike): BlockKernels {
  const memory = new Float32Array(buffer);
  const vector = (address: number, n: number) => memory.subarray(address / 4, address / 4 + n);

  /** sums[k] += c row[k] for k >= from. */
  const addRow = (sums: Float32Array, row: Float32Array, c: number, from: number) => {
    for (let k = from; k < sums.length; k++) sums[k] += f(c * row[k]);
  };

  /** a b from column `from` on, in four interleaved sums. */
  const dot = (a: Float32Array, b: Float32Array, from = 0): number => {
    const sums = [0, 0, 0, 0];
    for (let k = from; k < a.length; k++) sums[k % 4] = f(sums[k % 4] + f(a[k] * b[k]));
    return f(f(sums[0] + sums[1]) + f(sums[2] + sums[3]));
  };

  const levelOf = (x: number, low: number, high: number, table: number): number => {
    if (table !== 0) {
      const midpoints = vector(table + 64, 15);
      let index = 0;
      while (index < 15 && x >= midpoints[index]) index++;
      return vector(table, 16)[index];
    }
    const level = roundEven(x);
    const limited = level < high ? level : high;
    return low < limited ? limited : low;
  };

  return {
    gptqCombine(rows, width, coefficients, a, stride, out) {
      vector(coefficients, rows).forEach((c, i) => {
        addRow(vector(out, width), vector(a + stride * i, width), c, 0);
      });
    },

    gptqProduct(width, x, r, stride, out) {
      const sums = vector(out, width).fill(0);
      vector(x, width).forEach((c, j) => {
        addRow(sums, vector(r + stride * j, width), c, j);
      });
    },

    gptqTarget(width, weights, carried, r, stride, inverses, sumsAt, target) {
      const sums = vector(sumsAt, width);
      sums.set(vector(carried, width));
      for (let j = 0; j < width; j++) {
        const x = f(sums[j] * vector(inverses, width)[j]);
        vector(target, width)[j] = vector(weights, width)[j] + x;
        addRow(sums, vector(r + stride * j, width), -x, j + 1);
      }
    },

    gptqBacksolve(width, gradient, r, stride, inverses, out) {
      const x = vector(out, width).fill(0);
      for (let j = width - 1; j >= 0; j--) {
        const known = dot(vector(r + stride * j, width), x, j + 1);
        x[j] = f(vector(gradient, width)[j] - known) * vector(inverses, width)[j];
      }
    },

    gptqScan(width, target, weightsAt, multiples, count, offsets, low, high, table, _scratch, candidates) {
      const [targets, weights] = [vector(target, width), vector(weightsAt, width)];
      const sum = (of: (j: number) => number) => weights.reduce((sum, weight, j) => sum + weight * of(j), 0);
      const sw = sum(() => 1);
      const sx = sum((j) => targets[j]);
      const sxx = weights.reduce((sum, weight, j) => sum + weight * targets[j] * targets[j], 0);
      const peak = targets.reduce((peak, x) => (Math.abs(x) > Math.abs(peak) ? x : peak), 0);
      if (!(Math.abs(peak) > 0) || !Number.isFinite(peak)) return 0;
      const most = Math.max(...targets);
      const least = offsets === 0 ? 0 : Math.min(...targets, ...(offsets === 1 ? [0] : []));
      const found = new Float32Array(memory.buffer, candidates, 2 * LANES);
      if (offsets !== 0 && !(most > least)) {
        [found[0], found[LANES]] = [0, least];
        return 1;
      }
      const range = offsets !== 0 ? most - least : low === -high ? Math.abs(peak) : peak;
      const best: { scale: number; offset: number; loss: number }[] = [];
      for (const multiple of new Float64Array(memory.buffer, multiples, count)) {
        const inverse = f(multiple / range);
        let [sl, sll, sxl] = [0, 0, 0];
        targets.forEach((x, j) => {
          const level = levelOf(f(f(x - least) * inverse), low, high, table);
          const weighted = f(weights[j] * level);
          sl = f(sl + weighted);
          sll = f(sll + f(weighted * level));
          sxl = f(sxl + f(weighted * x));
        });
        if (!(sll > 0)) continue;
        let [scale, offset] = [sxl / sll, 0];
        if (offsets !== 0) {
          // Where all levels are equal, or nearly so, the offset is not determined: it stays 0.
          const determinant = sw * sll - sl * sl;
          const free = determinant > 1e-6 * sw * sll ? (sll * sx - sl * sxl) / determinant : 0;
          if (free < 0 || (free > 0 && offsets === 2)) {
            scale = (sw * sxl - sx * sl) / determinant;
            offset = free;
          }
        }
        const loss = sxx - scale * sxl - offset * sx;
        const after = best.findIndex((other) => loss < other.loss);
        const place = after < 0 ? best.length : after;
        if (best[place - 1]?.loss !== loss) best.splice(place, 0, { scale, offset, loss });
        best.length = Math.min(best.length, LANES);
      }
      best.forEach(({ scale, offset }, i) => {
        [found[i], found[LANES + i]] = [scale, offset];
      });
      return best.length;
    },

    gptqTry(count, width, target, units, candidates, low, high, table, sumsAt, levels, losses) {
      const [scales, offsets] = [vector(candidates, LANES), vector(candidates + 4 * LANES, LANES)];
      const x = vector(sumsAt, width);
      for (let lane = 0; lane < (count <= 4 ? 4 : LANES); lane++) {
        const unit = scales[lane] === 0 ? 1 : scales[lane];
        const wanted = vector(target, width).map((t) => f(f(t - offsets[lane]) * f(1 / unit)));
        x.set(wanted);
        let loss = 0;
        for (let j = 0; j < width; j++) {
          const row = vector(units + 4 * width * j, width);
          const level = levelOf(scales[lane] === 0 ? 0 : x[j], low, high, table);
          vector(levels, LANES * width)[LANES * j + lane] = level;
          const used = scales[lane] === 0 ? 0 : level;
          const left = f(f(x[j] - used) * row[j]);
          loss = f(loss + f(left * left));
          addRow(x, row, f(wanted[j] - used), j + 1);
        }
        vector(losses, LANES)[lane] = f(loss * f(unit * unit));
      }
    },

    gptqFit(width, image, ones, levels, r, stride, sumsAt, outAt) {
      const sums = vector(sumsAt, width);
      const out = vector(outAt, 3 * LANES);
      for (let lane = 0; lane < LANES; lane++) {
        sums.fill(0);
        let [yy, yt, yz] = [0, 0, 0];
        for (let j = 0; j < width; j++) {
          const level = vector(levels, LANES * width)[LANES * j + lane];
          addRow(sums, vector(r + stride * j, width), level, j);
          const y = sums[j];
          yy = f(yy + f(y * y));
          yt = f(yt + f(y * vector(image, width)[j]));
          yz = f(yz + f(y * vector(ones, width)[j]));
        }
        [out[lane], out[LANES + lane], out[2 * LANES + lane]] = [yy, yt, yz];
      }
    },

    gptqFitLane(width, image, ones, lanes, r, stride, sumsAt, outAt) {
      const y = vector(sumsAt, width).fill(0);
      for (let j = 0; j < width; j++) {
        addRow(y, vector(r + stride * j, width), vector(lanes, LANES * width)[LANES * j], j);
      }
      vector(outAt, 3).set([dot(y, y), dot(y, vector(image, width)), dot(y, vector(ones, width))]);
    },

    gptqFeedback(
      width,
      target,
      r,
      stride,
      inverses,
      scales,
      offsets,
      low,
      high,
      table,
      sumsAt,
      levels,
      decoded,
    ) {
      const sums = vector(sumsAt, width).fill(0);
      for (let j = 0; j < width; j++) {
        const t = vector(target, width)[j];
        const [scale, offset] = [vector(scales, width)[j], vector(offsets, width)[j]];
        const v = f(t + f(sums[j] * vector(inverses, width)[j]));
        const level = levelOf(scale === 0 ? 0 : f(f(v - offset) / scale), low, high, table);
        const q = f(f(scale * level) + offset);
        vector(levels, width)[j] = level;
        vector(decoded, width)[j] = q;
        addRow(sums, vector(r + stride * j, width), f(t - q), j + 1);
      }
    },

    gptqDescend(
      from,
      to,
      width,
      h,
      reciprocals,
      scale,
      offset,
      low,
      high,
      table,
      gradientAt,
      levels,
      decoded,
    ) {
      if (scale === 0) return 0;
      const inverse = f(1 / scale);
      const gradient = vector(gradientAt, width);
      let moves = 0;
      for (let j = from; j < to; j++) {
        const q = vector(decoded, width)[j];
        const step = f(gradient[j] * vector(reciprocals, width)[j]);
        const level = levelOf(f(f(f(q + step) - offset) * inverse), low, high, table);
        if (level === vector(levels, width)[j]) continue;
        const moved = f(f(scale * level) + offset);
        const change = f(moved - q);
        // The loss changes by H_jj (change^2 - 2 change step): only moves that gain more than rounding could feign.
        if (!(f(change * f(f(step + step) - change)) > f(f(f(1e-5) * change) * change))) continue;
        vector(levels, width)[j] = level;
        vector(decoded, width)[j] = moved;
        addRow(gradient, vector(h + 4 * width * j, width), -change, 0);
        moves++;
      }
      return moves;
    },

    gptqDot: (n, a, b) => dot(vector(a, n), vector(b, n)),

    gptqTake(width, lanes, lane, target, scale, offset, levels, decoded, errors) {
      for (let j = 0; j < width; j++) {
        const level = vector(lanes, LANES * width)[LANES * j + lane];
        const q = f(f(scale * level) + offset);
        vector(levels, width)[j] = level;
        vector(errors, width)[j] = vector(target, width)[j] - q;
        vector(decoded, width)[j] = q;
      }
    },

    gptqSteps(count, values, curvatures, end, low, high, outAt) {
      const out = vector(outAt, 8);
      out.fill(-1, 0, 4).fill(0, 4);
      for (let k = 0; k < 64; k++) {
        const inverse = f(end * f(f(1.02) - f(k * f(0.0065))));
        let [vl, ll] = [0, 0];
        for (let s = 0; s < count; s++) {
          const value = vector(values, count)[s];
          const level = levelOf(f(value * inverse), low, high, 0);
          const weighted = f(vector(curvatures, count)[s] * level);
          vl = f(vl + f(weighted * value));
          ll = f(ll + f(weighted * level));
        }
        const fit = f(vl / ll);
        const gain = f(fit * vl);
        if (gain > out[k % 4]) [out[k % 4], out[4 + (k % 4)]] = [gain, fit];
      }
    },

    gptqPair(from, width, h, diagonalAt, gradientAt, movesAt, gainsAt, least, out) {
      const [moves, gains] = [vector(movesAt, 512), vector(gainsAt, 512)];
      const [diagonal, gradient] = [vector(diagonalAt, width), vector(gradientAt, width)];
      const none = Number.NEGATIVE_INFINITY;
      for (let j = 0; j < width; j++) {
        for (const code of [j, j + 256]) {
          const gain = f(moves[code] * f(f(2 * gradient[j]) - f(moves[code] * diagonal[j])));
          gains[code] = moves[code] === 0 ? none : Math.min(0, gain);
        }
      }
      for (let i = from; i + 1 < width; i++) {
        const row = vector(h + 4 * width * i, width);
        let best = { gain: 0, codes: [i, i] };
        for (const code of [i, i + 256]) {
          for (let j = i + 1; j < width; j++) {
            const by = f(f(2 * moves[code]) * row[j]);
            for (const other of [j, j + 256]) {
              const gain = f(gains[code] + f(gains[other] - f(by * moves[other])));
              if (gain > best.gain) best = { gain, codes: [code, other] };
            }
          }
        }
        const j = best.codes[1] % 256;
        const [a, b] = best.codes.map((code) => moves[code]);
        const alone = f(f(f(a * a) * diagonal[i]) + f(f(b * b) * diagonal[j]));
        if (best.gain === 0 || !(best.gain > f(f(least) * alone))) continue;
        addRow(gradient, row, -a, 0);
        addRow(gradient, vector(h + 4 * width * j, width), -b, 0);
        new Int32Array(buffer, out, 2).set(best.codes);
        return i;
      }
      return width;
    },
  };
}
