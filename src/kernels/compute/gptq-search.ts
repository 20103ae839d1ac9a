/**
 * The inner loops of the search for scales of GPTQ, eight candidates at a time. Definitions and the names of the arguments are
 * those of src/quantize/gptq/block-kernels.ts; scalar.ts there must agree bit for bit. Every sum over rows of R is taken in order
 * of the rows, one product and one addition at a time.
 */

/**
 * Levels of x in four lanes: nearest of the integers low..high (half to even; NaN: high), or of a table's 16 ascending values.
 * These are small integers: their differences add up exactly, in any order.
 */
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

/** The sums of gptqScan for eight inverse scales and one offset: of w l, w l^2 and w l t, eight float32 each, at `out`. */
// @ts-ignore: decorator
@inline
function scanLanes(
  target: usize, weights: usize, end: usize, inverses: usize, offset: v128, least: v128, most: v128, table: usize, out: usize,
): void {
  const inverseA = v128.load(inverses), inverseB = v128.load(inverses, 16);
  const zero = f32x4.splat(0);
  let lA = zero, lB = zero, llA = zero, llB = zero, xlA = zero, xlB = zero;
  for (; target < end; target += 4, weights += 4) {
    const x = v128.load32_splat(target), w = v128.load32_splat(weights), shifted = f32x4.sub(x, offset);
    const a = levelsOf(f32x4.mul(shifted, inverseA), least, most, table);
    const b = levelsOf(f32x4.mul(shifted, inverseB), least, most, table);
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

/**
 * Puts a candidate into its place among the `found` best, whose losses are at `losses`, float64; returns how many there are
 * then, 8 at most.
 */
// @ts-ignore: decorator
@inline
function insertCandidate(found: i32, loss: f64, scale: f64, offset: f64, losses: usize, candidates: usize): i32 {
  let place = found;
  while (place > 0 && loss < load<f64>(losses + ((place - 1) << 3))) place--;
  if (place >= 8 || (place > 0 && load<f64>(losses + ((place - 1) << 3)) == loss)) return found;
  const count = found < 8 ? found + 1 : 8;
  for (let i = count - 1; i > place; i--) {
    store<f64>(losses + (i << 3), load<f64>(losses + ((i - 1) << 3)));
    const to = candidates + (i << 2);
    store<f32>(to, load<f32>(to - 4));
    store<f32>(to, load<f32>(to, 28), 32);
  }
  store<f64>(losses + (place << 3), loss);
  store<f32>(candidates + (place << 2), <f32>scale);
  store<f32>(candidates + (place << 2), <f32>offset, 32);
  return count;
}

export function gptqScan(
  width: usize, target: usize, weights: usize, multiples: usize, count: usize, offsets: i32, low: f32, high: f32, table: usize,
  scratch: usize, candidates: usize,
): i32 {
  const end = target + (width << 2);
  let least = load<f32>(target), most = least, peak: f32 = 0;
  let sw: f64 = 0, sx: f64 = 0, sxx: f64 = 0;
  for (let at = target, by = weights; at < end; at += 4, by += 4) {
    const value = load<f32>(at), weight = <f64>load<f32>(by);
    if (value < least) least = value;
    if (value > most) most = value;
    if (abs(value) > abs(peak)) peak = value;
    sw += weight;
    sx += weight * value;
    sxx += weight * value * value;
  }
  if (!(abs(peak) > 0) || abs(peak) == Infinity) return 0;
  if (offsets == 1 && least > 0) least = 0;
  if (offsets != 0 && !(most > least)) {
    store<f32>(candidates, 0);
    store<f32>(candidates, least, 32);
    return 1;
  }
  const divisor = offsets != 0 ? <f64>most - <f64>least : low == -high ? <f64>abs(peak) : <f64>peak;
  const shift = f32x4.splat(offsets != 0 ? least : <f32>0), lowest = f32x4.splat(low), highest = f32x4.splat(high);
  const sums = scratch + 32, losses = scratch + 128;
  let found = 0;
  for (const last = multiples + (count << 3); multiples < last; multiples += 64) {
    for (let lane: usize = 0; lane < 8; lane++) {
      store<f32>(scratch + (lane << 2), <f32>(load<f64>(multiples + (lane << 3)) / divisor));
    }
    scanLanes(target, weights, end, scratch, shift, lowest, highest, table, sums);
    for (let at = sums; at < sums + 32; at += 4) {
      const sl = <f64>load<f32>(at), sll = <f64>load<f32>(at, 32), sxl = <f64>load<f32>(at, 64);
      if (!(sll > 0)) continue;
      let scale = sxl / sll, offset: f64 = 0;
      if (offsets != 0) {
        const determinant = sw * sll - sl * sl;
        const free = determinant > 1e-6 * sw * sll ? (sll * sx - sl * sxl) / determinant : 0;
        if (free < 0 || (free > 0 && offsets == 2)) {
          scale = (sw * sxl - sx * sl) / determinant;
          offset = free;
        }
      }
      found = insertCandidate(found, sxx - scale * sxl - offset * sx, scale, offset, losses, candidates);
    }
  }
  return found;
}

export function gptqTry(
  count: i32, width: usize, target: usize, units: usize, candidates: usize, low: f32, high: f32, table: usize,
  sums: usize, levels: usize, losses: usize,
): void {
  if (count <= 4) {
    tryFour(width, target, units, candidates, low, high, table, sums, levels, losses);
    return;
  }
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

/** gptqTry of the first four candidates. What is left of a column takes 16 bytes of `sums`; its levels lie where they do for eight. */
function tryFour(
  width: usize, target: usize, units: usize, candidates: usize, low: f32, high: f32, table: usize,
  sums: usize, levels: usize, losses: usize,
): void {
  const least = f32x4.splat(low), most = f32x4.splat(high), zero = f32x4.splat(0), one = f32x4.splat(1);
  const scale = v128.load(candidates), offset = v128.load(candidates, 32);
  const some = f32x4.ne(scale, zero), unit = v128.bitselect(scale, one, some), inverse = f32x4.div(one, unit);
  const end = sums + (width << 4), stride = width << 2;
  for (let at = sums, t = target; at < end; at += 16, t += 4) {
    v128.store(at, f32x4.mul(f32x4.sub(v128.load32_splat(t), offset), inverse));
  }
  let loss = zero;
  for (let group = sums; group < end; group += 64, units += 4 * stride + 16) {
    const after = group + 64;
    let x = v128.load(group), x1 = v128.load(group, 16), x2 = v128.load(group, 32), x3 = v128.load(group, 48);
    let row = units;
    for (let at = group; at < after; at += 16, target += 4, levels += 32, row += stride + 4) {
      const level = levelsOf(v128.and(x, some), least, most, table), used = v128.and(level, some);
      v128.store(levels, level);
      const e = f32x4.sub(f32x4.mul(f32x4.sub(v128.load32_splat(target), offset), inverse), used);
      const left = f32x4.mul(f32x4.sub(x, used), v128.load32_splat(row));
      loss = f32x4.add(loss, f32x4.mul(left, left));
      v128.store(at, e);
      x = f32x4.add(x1, f32x4.mul(e, v128.load32_splat(row, 4)));
      x1 = f32x4.add(x2, f32x4.mul(e, v128.load32_splat(row, 8)));
      x2 = f32x4.add(x3, f32x4.mul(e, v128.load32_splat(row, 12)));
    }
    const e0 = v128.load(group), e1 = v128.load(group, 16), e2 = v128.load(group, 32), e3 = v128.load(group, 48);
    for (let at = after, c = units + 16; at < end; at += 16, c += 4) {
      let sum = f32x4.add(v128.load(at), f32x4.mul(e0, v128.load32_splat(c)));
      sum = f32x4.add(sum, f32x4.mul(e1, v128.load32_splat(c + stride)));
      sum = f32x4.add(sum, f32x4.mul(e2, v128.load32_splat(c + 2 * stride)));
      v128.store(at, f32x4.add(sum, f32x4.mul(e3, v128.load32_splat(c + 3 * stride))));
    }
  }
  v128.store(losses, f32x4.mul(loss, f32x4.mul(unit, unit)));
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

export function gptqFitLane(
  width: usize, image: usize, ones: usize, lanes: usize, r: usize, stride: usize, sums: usize, out: usize,
): void {
  memory.fill(sums, 0, width << 2);
  let yy = f32x4.splat(0), yt = yy, yz = yy;
  const end = sums + (width << 2);
  for (let group = sums; group < end; group += 16, lanes += 128, r += 4 * stride + 16, image += 16, ones += 16) {
    const a = v128.load32_splat(lanes), b = v128.load32_splat(lanes, 32);
    const c = v128.load32_splat(lanes, 64), d = v128.load32_splat(lanes, 96);
    for (let at = group, row = r; at < end; at += 16, row += 16) {
      let sum = f32x4.add(v128.load(at), f32x4.mul(a, v128.load(row)));
      sum = f32x4.add(sum, f32x4.mul(b, v128.load(row + stride)));
      sum = f32x4.add(sum, f32x4.mul(c, v128.load(row + 2 * stride)));
      v128.store(at, f32x4.add(sum, f32x4.mul(d, v128.load(row + 3 * stride))));
    }
    const y = v128.load(group);
    yy = f32x4.add(yy, f32x4.mul(y, y));
    yt = f32x4.add(yt, f32x4.mul(y, v128.load(image)));
    yz = f32x4.add(yz, f32x4.mul(y, v128.load(ones)));
  }
  store<f32>(out, sumOf(yy));
  store<f32>(out, sumOf(yt), 4);
  store<f32>(out, sumOf(yz), 8);
}

/** The lanes of a sum, added as (0 + 1) + (2 + 3). */
// @ts-ignore: decorator
@inline
function sumOf(sum: v128): f32 {
  return (
    f32x4.extract_lane(sum, 0) + f32x4.extract_lane(sum, 1) + (f32x4.extract_lane(sum, 2) + f32x4.extract_lane(sum, 3))
  );
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
