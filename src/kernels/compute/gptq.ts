/**
 * Rounding one row of one block of columns under a quadratic loss: the inner loops of GPTQ. Definitions and the names of the
 * buffers are those of src/quantize/gptq/scalar.ts, which must agree with these bit for bit.
 *
 * R is the upper factor of the block's loss ||(t - q) R||^2, M = R R^T, both width x width float32, row-major, R zero below
 * its diagonal; width is a multiple of 32, at most 256. Every sum over rows of R or M is taken in order of the rows, one
 * product and one addition at a time.
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

/** to[k] += c a[k] for k below width. */
// @ts-ignore: decorator
@inline
function addRow(to: usize, a: usize, width: usize, c: f32): void {
  const s = f32x4.splat(c);
  for (const end = to + (width << 2); to < end; to += 32, a += 32) {
    v128.store(to, f32x4.add(v128.load(to), f32x4.mul(s, v128.load(a))));
    v128.store(to, f32x4.add(v128.load(to, 16), f32x4.mul(s, v128.load(a, 16))), 16);
  }
}

/** sums[k] += c r[j, k] for the k of j's group of four that come after j. */
// @ts-ignore: decorator
@inline
function addWithinGroup(sums: usize, row: usize, j: usize, c: f32): void {
  for (let k = j + 1; k < ((j + 4) & ~3); k++) {
    const at = sums + (k << 2);
    store<f32>(at, load<f32>(at) + c * load<f32>(row + (k << 2)));
  }
}

/** out = coefficients M, `rows` rows (a multiple of 4) of `width` columns. */
export function gptqCombine(rows: usize, width: usize, coefficients: usize, m: usize, out: usize): void {
  memory.fill(out, 0, width << 2);
  const stride = width << 2;
  for (const end = coefficients + (rows << 2); coefficients < end; coefficients += 16, m += 4 * stride) {
    addFourRows(
      out, m, stride, 0, width,
      load<f32>(coefficients), load<f32>(coefficients, 4), load<f32>(coefficients, 8), load<f32>(coefficients, 12),
    );
  }
}

/** target = weights + x with x R = carried; `sums` is scratch. inverses: 1 / R_jj. */
export function gptqTarget(width: usize, weights: usize, carried: usize, r: usize, inverses: usize, sums: usize, target: usize): void {
  memory.copy(sums, carried, width << 2);
  const stride = width << 2;
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

/** Level of x on a grid: nearest of the integers low..high (half to even), or of a table's 16 ascending values. */
// @ts-ignore: decorator
@inline
function levelOf(x: f32, low: f32, high: f32, table: usize): f32 {
  if (table == 0) return max<f32>(low, min<f32>(high, nearest<f32>(x)));
  let at = table;
  if (x >= load<f32>(at, 64 + 4 * 7)) at += 32;
  if (x >= load<f32>(at, 64 + 4 * 3)) at += 16;
  if (x >= load<f32>(at, 64 + 4 * 1)) at += 8;
  if (x >= load<f32>(at, 64)) at += 4;
  return load<f32>(at);
}

/**
 * Codes in order of the columns, each error fed to the columns after it. Writes levels, decoded values and `sums`
 * (the (t - q) R of each column) and returns the loss.
 */
export function gptqFeedback(
  width: usize, target: usize, r: usize, inverses: usize, scales: usize, low: f32, high: f32, table: usize,
  sums: usize, levels: usize, decoded: usize,
): f64 {
  memory.fill(sums, 0, width << 2);
  const stride = width << 2;
  const ofScales = scales + 1024, offsets = scales + 2048;
  let loss: f64 = 0;
  for (let j: usize = 0; j < width; j += 4) {
    const row = r + j * stride;
    let e0: f32 = 0, e1: f32 = 0, e2: f32 = 0, e3: f32 = 0;
    for (let i: usize = 0; i < 4; i++) {
      const at = (j + i) << 2;
      const t = load<f32>(target + at);
      const v = t + load<f32>(sums + at) * load<f32>(inverses + at);
      const offset = load<f32>(offsets + at);
      const level = levelOf((v - offset) * load<f32>(ofScales + at), low, high, table);
      const q = load<f32>(scales + at) * level + offset;
      store<f32>(levels + at, level);
      store<f32>(decoded + at, q);
      const e = t - q;
      const sum = load<f32>(sums + at) + e * load<f32>(row + i * stride + at);
      store<f32>(sums + at, sum);
      loss += <f64>sum * <f64>sum;
      addWithinGroup(sums, row + i * stride, j + i, e);
      if (i == 0) e0 = e;
      else if (i == 1) e1 = e;
      else if (i == 2) e2 = e;
      else e3 = e;
    }
    addFourRows(sums, row, stride, j + 4, width, e0, e1, e2, e3);
  }
  return loss;
}

/** Decodes levels, writes the errors target - decoded, and returns ||errors R||^2; `sums` is scratch. */
export function gptqLoss(
  width: usize, target: usize, r: usize, scales: usize, levels: usize, sums: usize, decoded: usize, errors: usize,
): f64 {
  memory.fill(sums, 0, width << 2);
  for (let at: usize = 0; at < width << 2; at += 16) {
    const q = f32x4.add(f32x4.mul(v128.load(scales + at), v128.load(levels + at)), v128.load(scales + at, 2048));
    v128.store(decoded + at, q);
    v128.store(errors + at, f32x4.sub(v128.load(target + at), q));
  }
  const stride = width << 2;
  for (let j: usize = 0; j < width; j += 4) {
    const at = errors + (j << 2);
    addFourRows(
      sums, r + j * stride, stride, j, width,
      load<f32>(at), load<f32>(at, 4), load<f32>(at, 8), load<f32>(at, 12),
    );
  }
  let loss: f64 = 0;
  for (const end = sums + stride; sums < end; sums += 4) {
    const sum = <f64>load<f32>(sums);
    loss += sum * sum;
  }
  return loss;
}

/**
 * Coordinate descent on codes: column by column, each moves to the best level while the others stay, in at most
 * `sweeps` sweeps. gradient is M (t - q), kept up to date, as are levels and decoded. Returns the number of moves.
 * reciprocals: 1 / M_jj.
 */
export function gptqDescend(
  width: usize, sweeps: i32, m: usize, reciprocals: usize, scales: usize, low: f32, high: f32, table: usize,
  gradient: usize, levels: usize, decoded: usize,
): i32 {
  const ofScales = scales + 1024, offsets = scales + 2048;
  let moves = 0;
  for (let sweep = 0; sweep < sweeps; sweep++) {
    const before = moves;
    for (let j: usize = 0; j < width; j++) {
      const at = j << 2;
      const q = load<f32>(decoded + at);
      const pull = load<f32>(gradient + at);
      const step = pull * load<f32>(reciprocals + at);
      const offset = load<f32>(offsets + at);
      const level = levelOf((q + step - offset) * load<f32>(ofScales + at), low, high, table);
      if (level == load<f32>(levels + at)) continue;
      const moved = load<f32>(scales + at) * level + offset;
      const change = moved - q;
      // The loss changes by M_jj (change^2 - 2 change step): only moves that gain more than rounding could feign.
      if (!(change * (step + step - change) > <f32>1e-5 * change * change)) continue;
      store<f32>(levels + at, level);
      store<f32>(decoded + at, moved);
      addRow(gradient, m + j * (width << 2), width, -change);
      moves++;
    }
    if (moves == before) break;
  }
  return moves;
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

/** out[s] = the dot product of a and b over sub-block s, float32. */
export function gptqDots(width: usize, sub: usize, a: usize, b: usize, out: usize): void {
  for (const end = a + (width << 2); a < end; a += sub << 2, b += sub << 2, out += 4) store<f32>(out, dot(a, b, sub));
}
