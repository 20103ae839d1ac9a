/**
 * The inner loops of GPTQ, on one row of a matrix and one block of its columns. Definitions and the names of the arguments are
 * those of src/quantize/gptq/scalar.ts, which must agree with these bit for bit. Every sum over rows of R or H is taken
 * in order of the rows, one product and one addition at a time.
 */

/** to[k] += c0 a[k], then c1, c2, c3 times the next rows, for k in `from`..`width`, both multiples of 4. */
// @ts-ignore: decorator
@inline
function addFourRows(to: usize, a: usize, stride: usize, from: usize, width: usize, c0: f32, c1: f32, c2: f32, c3: f32): void {
  const s0 = f32x4.splat(c0), s1 = f32x4.splat(c1), s2 = f32x4.splat(c2), s3 = f32x4.splat(c3);
  const end = to + (width << 2);
  let b = a + (from << 2);
  for (let at = to + (from << 2); at < end; at += 16, b += 16) {
    let sum = v128.load(at);
    sum = f32x4.add(sum, f32x4.mul(s0, v128.load(b)));
    sum = f32x4.add(sum, f32x4.mul(s1, v128.load(b + stride)));
    sum = f32x4.add(sum, f32x4.mul(s2, v128.load(b + 2 * stride)));
    v128.store(at, f32x4.add(sum, f32x4.mul(s3, v128.load(b + 3 * stride))));
  }
}

/** sums[k] += c row[k] for the k of j's group of four that come after j. */
// @ts-ignore: decorator
@inline
function addWithinGroup(sums: usize, row: usize, j: usize, c: f32): void {
  for (let k = j + 1; k < ((j + 4) & ~3); k++) {
    const at = sums + (k << 2);
    store<f32>(at, load<f32>(at) + c * load<f32>(row + (k << 2)));
  }
}

export function gptqCombine(rows: usize, width: usize, coefficients: usize, a: usize, stride: usize, out: usize): void {
  for (const end = coefficients + (rows << 2); coefficients < end; coefficients += 16, a += 4 * stride) {
    addFourRows(
      out, a, stride, 0, width,
      load<f32>(coefficients), load<f32>(coefficients, 4), load<f32>(coefficients, 8), load<f32>(coefficients, 12),
    );
  }
}

export function gptqProduct(width: usize, x: usize, r: usize, stride: usize, out: usize): void {
  memory.fill(out, 0, width << 2);
  for (let j: usize = 0; j < width; j += 4) {
    const at = x + (j << 2);
    addFourRows(
      out, r + j * stride, stride, j, width,
      load<f32>(at), load<f32>(at, 4), load<f32>(at, 8), load<f32>(at, 12),
    );
  }
}

export function gptqTarget(
  width: usize, weights: usize, carried: usize, r: usize, stride: usize, inverses: usize, sums: usize, target: usize,
): void {
  memory.copy(sums, carried, width << 2);
  for (let j: usize = 0; j < width; j += 4) {
    const row = r + j * stride;
    let c0: f32 = 0, c1: f32 = 0, c2: f32 = 0, c3: f32 = 0;
    for (let i: usize = 0; i < 4; i++) {
      const at = (j + i) << 2;
      const c = load<f32>(sums + at) * load<f32>(inverses + at);
      store<f32>(target + at, load<f32>(weights + at) + c);
      addWithinGroup(sums, row + i * stride, j + i, -c);
      if (i == 0) c0 = -c;
      else if (i == 1) c1 = -c;
      else if (i == 2) c2 = -c;
      else c3 = -c;
    }
    addFourRows(sums, row, stride, j + 4, width, c0, c1, c2, c3);
  }
}

/** Sum of a[k] b[k], n a multiple of 4: four interleaved sums, added as (0 + 1) + (2 + 3). */
// @ts-ignore: decorator
@inline
function dot(a: usize, b: usize, n: usize): f32 {
  let sum = f32x4.splat(0);
  for (const end = a + (n << 2); a < end; a += 16, b += 16) sum = f32x4.add(sum, f32x4.mul(v128.load(a), v128.load(b)));
  return (
    f32x4.extract_lane(sum, 0) + f32x4.extract_lane(sum, 1) + (f32x4.extract_lane(sum, 2) + f32x4.extract_lane(sum, 3))
  );
}

export function gptqBacksolve(width: usize, gradient: usize, r: usize, stride: usize, inverses: usize, out: usize): void {
  memory.fill(out, 0, width << 2);
  for (let j: isize = <isize>width - 1; j >= 0; j--) {
    const at = <usize>j << 2, from = at & ~15; // what is before j in its group is still 0
    const known = dot(r + <usize>j * stride + from, out + from, width - (from >> 2));
    store<f32>(out + at, (load<f32>(gradient + at) - known) * load<f32>(inverses + at));
  }
}

/** Level of x: nearest of the integers low..high (half to even; NaN: high), or of a table's 16 ascending values. */
// @ts-ignore: decorator
@inline
function levelOf(x: f32, low: f32, high: f32, table: usize): f32 {
  if (table == 0) {
    const level = nearest<f32>(x), limited = level < high ? level : high;
    return low < limited ? limited : low;
  }
  let at = table;
  if (x >= load<f32>(at, 64 + 4 * 7)) at += 32;
  if (x >= load<f32>(at, 64 + 4 * 3)) at += 16;
  if (x >= load<f32>(at, 64 + 4 * 1)) at += 8;
  if (x >= load<f32>(at, 64)) at += 4;
  return load<f32>(at);
}

/** The same in four lanes. Table values are small integers: their differences add up exactly, in any order. */
// @ts-ignore: decorator
@inline
function levelsOf(x: v128, low: v128, high: v128, table: usize): v128 {
  if (table == 0) return f32x4.pmax(low, f32x4.pmin(high, f32x4.nearest(x)));
  let a = v128.load32_splat(table), b = f32x4.splat(0);
  for (let k: usize = 0; k < 56; k += 8) {
    a = f32x4.add(a, v128.and(f32x4.ge(x, v128.load32_splat(table + k, 64)), v128.load32_splat(table + k, 128)));
    b = f32x4.add(b, v128.and(f32x4.ge(x, v128.load32_splat(table + k, 68)), v128.load32_splat(table + k, 132)));
  }
  a = f32x4.add(a, v128.and(f32x4.ge(x, v128.load32_splat(table, 120)), v128.load32_splat(table, 184)));
  return f32x4.add(a, b);
}

export function gptqScan(
  width: usize, target: usize, weights: usize, candidates: usize, low: f32, high: f32, table: usize, out: usize,
): void {
  const least = f32x4.splat(low), most = f32x4.splat(high);
  const inverseA = v128.load(candidates), inverseB = v128.load(candidates, 16);
  const offsetA = v128.load(candidates, 32), offsetB = v128.load(candidates, 48);
  const zero = f32x4.splat(0);
  let lA = zero, lB = zero, llA = zero, llB = zero, xlA = zero, xlB = zero;
  for (const end = target + (width << 2); target < end; target += 4, weights += 4) {
    const x = v128.load32_splat(target), w = v128.load32_splat(weights);
    const a = levelsOf(f32x4.mul(f32x4.sub(x, offsetA), inverseA), least, most, table);
    const b = levelsOf(f32x4.mul(f32x4.sub(x, offsetB), inverseB), least, most, table);
    const wA = f32x4.mul(w, a), wB = f32x4.mul(w, b);
    lA = f32x4.add(lA, wA);
    lB = f32x4.add(lB, wB);
    llA = f32x4.add(llA, f32x4.mul(wA, a));
    llB = f32x4.add(llB, f32x4.mul(wB, b));
    xlA = f32x4.add(xlA, f32x4.mul(wA, x));
    xlB = f32x4.add(xlB, f32x4.mul(wB, x));
  }
  v128.store(out, lA);
  v128.store(out, lB, 16);
  v128.store(out, llA, 32);
  v128.store(out, llB, 48);
  v128.store(out, xlA, 64);
  v128.store(out, xlB, 80);
}

export function gptqTry(
  width: usize, target: usize, units: usize, candidates: usize, low: f32, high: f32, table: usize,
  sums: usize, levels: usize, losses: usize,
): void {
  const least = f32x4.splat(low), most = f32x4.splat(high), zero = f32x4.splat(0), one = f32x4.splat(1);
  const scaleA = v128.load(candidates), scaleB = v128.load(candidates, 16);
  const offsetA = v128.load(candidates, 32), offsetB = v128.load(candidates, 48);
  // A scale of 0 holds nothing but the offset: all levels count as 0, and a unit is 1.
  const someA = f32x4.ne(scaleA, zero), someB = f32x4.ne(scaleB, zero);
  const unitA = v128.bitselect(scaleA, one, someA), unitB = v128.bitselect(scaleB, one, someB);
  const inverseA = f32x4.div(one, unitA), inverseB = f32x4.div(one, unitB);
  const end = sums + (width << 5), stride = width << 2; // a column is 8 floats
  for (let at = sums, t = target; at < end; at += 32, t += 4) {
    const x = v128.load32_splat(t);
    v128.store(at, f32x4.mul(f32x4.sub(x, offsetA), inverseA));
    v128.store(at, f32x4.mul(f32x4.sub(x, offsetB), inverseB), 16);
  }
  let lossA = zero, lossB = zero;
  for (let group = sums; group < end; group += 128, units += 4 * stride + 16) {
    const after = group + 128;
    // The next columns of the group wait in registers; what a shift brings in behind them is never used.
    let xA = v128.load(group), x1A = v128.load(group, 32), x2A = v128.load(group, 64), x3A = v128.load(group, 96);
    let xB = v128.load(group, 16), x1B = v128.load(group, 48), x2B = v128.load(group, 80), x3B = v128.load(group, 112);
    let row = units;
    for (let at = group; at < after; at += 32, target += 4, levels += 32, row += stride + 4) {
      const levelA = levelsOf(v128.and(xA, someA), least, most, table);
      const levelB = levelsOf(v128.and(xB, someB), least, most, table);
      v128.store(levels, levelA);
      v128.store(levels, levelB, 16);
      const t = v128.load32_splat(target), own = v128.load32_splat(row);
      const usedA = v128.and(levelA, someA), usedB = v128.and(levelB, someB);
      const eA = f32x4.sub(f32x4.mul(f32x4.sub(t, offsetA), inverseA), usedA);
      const eB = f32x4.sub(f32x4.mul(f32x4.sub(t, offsetB), inverseB), usedB);
      const leftA = f32x4.mul(f32x4.sub(xA, usedA), own), leftB = f32x4.mul(f32x4.sub(xB, usedB), own);
      lossA = f32x4.add(lossA, f32x4.mul(leftA, leftA));
      lossB = f32x4.add(lossB, f32x4.mul(leftB, leftB));
      v128.store(at, eA);
      v128.store(at, eB, 16);
      const c1 = v128.load32_splat(row, 4), c2 = v128.load32_splat(row, 8), c3 = v128.load32_splat(row, 12);
      xA = f32x4.add(x1A, f32x4.mul(eA, c1));
      xB = f32x4.add(x1B, f32x4.mul(eB, c1));
      x1A = f32x4.add(x2A, f32x4.mul(eA, c2));
      x1B = f32x4.add(x2B, f32x4.mul(eB, c2));
      x2A = f32x4.add(x3A, f32x4.mul(eA, c3));
      x2B = f32x4.add(x3B, f32x4.mul(eB, c3));
    }
    addFourLanes(after, end, group, units + 16, stride);
  }
  v128.store(losses, f32x4.mul(lossA, f32x4.mul(unitA, unitA)));
  v128.store(losses, f32x4.mul(lossB, f32x4.mul(unitB, unitB)), 16);
}

/** Adds a and b, each times the next element of a row, to the columns of eight sums from `at` to `end`. */
// @ts-ignore: decorator
@inline
function addLanes(at: usize, end: usize, row: usize, a: v128, b: v128): void {
  for (; at < end; at += 32, row += 4) {
    const c = v128.load32_splat(row);
    v128.store(at, f32x4.add(v128.load(at), f32x4.mul(a, c)));
    v128.store(at, f32x4.add(v128.load(at, 16), f32x4.mul(b, c)), 16);
  }
}

/** The same with four columns of eight coefficients, each times its row: one row after the other. */
// @ts-ignore: decorator
@inline
function addFourLanes(at: usize, end: usize, coefficients: usize, row: usize, stride: usize): void {
  const a0 = v128.load(coefficients), b0 = v128.load(coefficients, 16);
  const a1 = v128.load(coefficients, 32), b1 = v128.load(coefficients, 48);
  const a2 = v128.load(coefficients, 64), b2 = v128.load(coefficients, 80);
  const a3 = v128.load(coefficients, 96), b3 = v128.load(coefficients, 112);
  for (; at < end; at += 32, row += 4) {
    let c = v128.load32_splat(row);
    let a = f32x4.add(v128.load(at), f32x4.mul(a0, c)), b = f32x4.add(v128.load(at, 16), f32x4.mul(b0, c));
    c = v128.load32_splat(row + stride);
    a = f32x4.add(a, f32x4.mul(a1, c));
    b = f32x4.add(b, f32x4.mul(b1, c));
    c = v128.load32_splat(row + 2 * stride);
    a = f32x4.add(a, f32x4.mul(a2, c));
    b = f32x4.add(b, f32x4.mul(b2, c));
    c = v128.load32_splat(row + 3 * stride);
    v128.store(at, f32x4.add(a, f32x4.mul(a3, c)));
    v128.store(at, f32x4.add(b, f32x4.mul(b3, c)), 16);
  }
}

export function gptqFit(
  width: usize, image: usize, ones: usize, levels: usize, r: usize, stride: usize, sums: usize, out: usize,
): void {
  const size = width << 5;
  memory.fill(sums, 0, size);
  const zero = f32x4.splat(0);
  let yyA = zero, yyB = zero, ytA = zero, ytB = zero, yzA = zero, yzB = zero;
  const end = sums + size;
  for (let group = sums; group < end; group += 128, r += 4 * stride + 16) {
    const after = group + 128, first = levels;
    let diagonal = r;
    for (let at = group; at < after; at += 32, levels += 32, image += 4, ones += 4, diagonal += stride + 4) {
      const levelA = v128.load(levels), levelB = v128.load(levels, 16);
      const own = v128.load32_splat(diagonal);
      const yA = f32x4.add(v128.load(at), f32x4.mul(levelA, own));
      const yB = f32x4.add(v128.load(at, 16), f32x4.mul(levelB, own));
      const t = v128.load32_splat(image), z = v128.load32_splat(ones);
      yyA = f32x4.add(yyA, f32x4.mul(yA, yA));
      yyB = f32x4.add(yyB, f32x4.mul(yB, yB));
      ytA = f32x4.add(ytA, f32x4.mul(yA, t));
      ytB = f32x4.add(ytB, f32x4.mul(yB, t));
      yzA = f32x4.add(yzA, f32x4.mul(yA, z));
      yzB = f32x4.add(yzB, f32x4.mul(yB, z));
      addLanes(at + 32, after, diagonal + 4, levelA, levelB);
    }
    addFourLanes(after, end, first, r + 16, stride);
  }
  v128.store(out, yyA);
  v128.store(out, yyB, 16);
  v128.store(out, ytA, 32);
  v128.store(out, ytB, 48);
  v128.store(out, yzA, 64);
  v128.store(out, yzB, 80);
}

export function gptqFeedback(
  width: usize, target: usize, r: usize, stride: usize, inverses: usize, scales: usize, offsets: usize,
  low: f32, high: f32, table: usize, sums: usize, levels: usize, decoded: usize,
): void {
  memory.fill(sums, 0, width << 2);
  for (let j: usize = 0; j < width; j += 4) {
    const row = r + j * stride;
    let e0: f32 = 0, e1: f32 = 0, e2: f32 = 0, e3: f32 = 0;
    for (let i: usize = 0; i < 4; i++) {
      const at = (j + i) << 2;
      const t = load<f32>(target + at);
      const scale = load<f32>(scales + at), offset = load<f32>(offsets + at);
      const v = t + load<f32>(sums + at) * load<f32>(inverses + at);
      const level = levelOf(scale == 0 ? <f32>0 : (v - offset) / scale, low, high, table);
      const q = scale * level + offset;
      store<f32>(levels + at, level);
      store<f32>(decoded + at, q);
      const e = t - q;
      addWithinGroup(sums, row + i * stride, j + i, e);
      if (i == 0) e0 = e;
      else if (i == 1) e1 = e;
      else if (i == 2) e2 = e;
      else e3 = e;
    }
    addFourRows(sums, row, stride, j + 4, width, e0, e1, e2, e3);
  }
}

export function gptqDescend(
  from: usize, to: usize, width: usize, h: usize, reciprocals: usize, scale: f32, offset: f32, low: f32, high: f32, table: usize,
  gradient: usize, levels: usize, decoded: usize,
): i32 {
  if (scale == 0) return 0;
  const inverse = <f32>1 / scale;
  let moves = 0;
  for (let j = from; j < to; j++) {
    const at = j << 2;
    const q = load<f32>(decoded + at);
    const step = load<f32>(gradient + at) * load<f32>(reciprocals + at);
    const level = levelOf((q + step - offset) * inverse, low, high, table);
    if (level == load<f32>(levels + at)) continue;
    const moved = scale * level + offset;
    const change = moved - q;
    // The loss changes by H_jj (change^2 - 2 change step): only moves that gain more than rounding could feign.
    if (!(change * (step + step - change) > <f32>1e-5 * change * change)) continue;
    store<f32>(levels + at, level);
    store<f32>(decoded + at, moved);
    const by = f32x4.splat(-change);
    let row = h + j * (width << 2);
    for (let k = gradient, end = gradient + (width << 2); k < end; k += 32, row += 32) {
      v128.store(k, f32x4.add(v128.load(k), f32x4.mul(by, v128.load(row))));
      v128.store(k, f32x4.add(v128.load(k, 16), f32x4.mul(by, v128.load(row, 16))), 16);
    }
    moves++;
  }
  return moves;
}

/** The largest of four lanes. */
// @ts-ignore: decorator
@inline
function largest(x: v128): f32 {
  const a = f32x4.extract_lane(x, 0), b = f32x4.extract_lane(x, 1), c = f32x4.extract_lane(x, 2), d = f32x4.extract_lane(x, 3);
  const ab = a > b ? a : b, cd = c > d ? c : d;
  return ab > cd ? ab : cd;
}

export function gptqDot(n: usize, a: usize, b: usize): f32 {
  return dot(a, b, n);
}

export function gptqTake(
  width: usize, lanes: usize, lane: usize, target: usize, scale: f32, offset: f32, levels: usize, decoded: usize, errors: usize,
): void {
  lanes += lane << 2;
  const by = f32x4.splat(scale), shift = f32x4.splat(offset);
  for (let at: usize = 0; at < width << 2; at += 16, lanes += 128) {
    const level = f32x4(load<f32>(lanes), load<f32>(lanes, 32), load<f32>(lanes, 64), load<f32>(lanes, 96));
    const q = f32x4.add(f32x4.mul(by, level), shift);
    v128.store(levels + at, level);
    v128.store(errors + at, f32x4.sub(v128.load(target + at), q));
    v128.store(decoded + at, q);
  }
}

export function gptqSteps(count: usize, values: usize, curvatures: usize, end: f32, low: f32, high: f32, out: usize): void {
  const least = f32x4.splat(low), most = f32x4.splat(high), zero = f32x4.splat(0);
  let best = f32x4.splat(-1), step = zero, k = f32x4(0, 1, 2, 3);
  for (let i = 0; i < 16; i++, k = f32x4.add(k, f32x4.splat(4))) {
    const inverse = f32x4.mul(f32x4.splat(end), f32x4.sub(f32x4.splat(1.02), f32x4.mul(k, f32x4.splat(0.0065))));
    let vl = zero, ll = zero;
    for (let s: usize = 0; s < count << 2; s += 4) {
      const value = v128.load32_splat(values + s);
      const level = f32x4.pmax(least, f32x4.pmin(most, f32x4.nearest(f32x4.mul(value, inverse))));
      const weighted = f32x4.mul(v128.load32_splat(curvatures + s), level);
      vl = f32x4.add(vl, f32x4.mul(weighted, value));
      ll = f32x4.add(ll, f32x4.mul(weighted, level));
    }
    const fit = f32x4.div(vl, ll), gain = f32x4.mul(fit, vl), better = f32x4.gt(gain, best);
    best = v128.bitselect(gain, best, better);
    step = v128.bitselect(fit, step, better);
  }
  v128.store(out, best);
  v128.store(out, step, 16);
}

export function gptqPair(
  from: usize, width: usize, h: usize, diagonal: usize, gradient: usize, moves: usize, gains: usize, least: f32, out: usize,
): usize {
  const zero = f32x4.splat(0);
  for (let k: usize = 0; k < width << 2; k += 16) {
    const g = v128.load(gradient + k), bend = v128.load(diagonal + k);
    for (let way: usize = 0; way < 2048; way += 1024) {
      const move = v128.load(moves + k + way);
      const gain = f32x4.mul(move, f32x4.sub(f32x4.add(g, g), f32x4.mul(move, bend)));
      const counted = v128.bitselect(f32x4.pmin(zero, gain), f32x4.splat(-Infinity), f32x4.ne(move, zero));
      v128.store(gains + k + way, counted);
    }
  }
  for (let j = from & ~3; j < from; j++) removeGains(gains + (j << 2));
  for (let i = from; i + 1 < width; i++) {
    const at = i << 2, row = h + i * (width << 2);
    const ownUp = load<f32>(gains + at), ownDown = load<f32>(gains + at, 1024);
    const up = load<f32>(moves + at), down = load<f32>(moves + at, 1024);
    removeGains(gains + at);
    const twiceUp = f32x4.splat(up + up), twiceDown = f32x4.splat(down + down);
    let bestUp = f32x4.splat(-Infinity), bestDown = bestUp;
    for (let k = (at + 4) & ~15; k < width << 2; k += 16) {
      const coupling = v128.load(row + k);
      const byUp = f32x4.mul(twiceUp, coupling), byDown = f32x4.mul(twiceDown, coupling);
      const moveUp = v128.load(moves + k), moveDown = v128.load(moves + k, 1024);
      const gainUp = v128.load(gains + k), gainDown = v128.load(gains + k, 1024);
      bestUp = f32x4.pmax(bestUp, f32x4.sub(gainUp, f32x4.mul(byUp, moveUp)));
      bestUp = f32x4.pmax(bestUp, f32x4.sub(gainDown, f32x4.mul(byUp, moveDown)));
      bestDown = f32x4.pmax(bestDown, f32x4.sub(gainUp, f32x4.mul(byDown, moveUp)));
      bestDown = f32x4.pmax(bestDown, f32x4.sub(gainDown, f32x4.mul(byDown, moveDown)));
    }
    if (!(ownUp + largest(bestUp) > 0) && !(ownDown + largest(bestDown) > 0)) continue;
    // There is one: which.
    let best: f32 = 0, code = 0, partner = 0;
    for (let way: usize = 0; way < 2048; way += 1024) {
      const own = way == 0 ? ownUp : ownDown, move = way == 0 ? up : down;
      for (let j = i + 1; j < width; j++) {
        const by = (move + move) * load<f32>(row + (j << 2));
        for (let other = j << 2; other < 2048; other += 1024) {
          const gain = own + (load<f32>(gains + other) - by * load<f32>(moves + other));
          if (!(gain > best)) continue;
          best = gain;
          code = <i32>((way >> 2) + i);
          partner = <i32>(other >> 2);
        }
      }
    }
    const j = <usize>partner & 255;
    const a = load<f32>(moves + (code << 2)), b = load<f32>(moves + (partner << 2));
    const alone = a * a * load<f32>(diagonal + at) + b * b * load<f32>(diagonal + (j << 2));
    if (!(best > least * alone)) continue;
    const byA = f32x4.splat(a), byB = f32x4.splat(b), second = h + j * (width << 2);
    for (let k: usize = 0; k < width << 2; k += 16) {
      const left = f32x4.sub(v128.load(gradient + k), f32x4.mul(byA, v128.load(row + k)));
      v128.store(gradient + k, f32x4.sub(left, f32x4.mul(byB, v128.load(second + k))));
    }
    store<i32>(out, code);
    store<i32>(out, partner, 4);
    return i;
  }
  return width;
}

// @ts-ignore: decorator
@inline
function removeGains(at: usize): void {
  store<f32>(at, -Infinity);
  store<f32>(at, -Infinity, 1024);
}
