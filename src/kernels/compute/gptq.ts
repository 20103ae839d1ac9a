/**
 * The inner loops of GPTQ, on one row of a matrix and one block of its columns. Definitions and the names of the arguments are
 * those of src/quantize/gptq/block-kernels.ts; scalar.ts there must agree bit for bit. Every sum over rows of R or H is taken
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

export function gptqDot(n: usize, a: usize, b: usize): f32 {
  return dot(a, b, n);
}
