/**
 * Lane-parallel layout: four sub-blocks side by side, sub-block k in lane k, so that each lane does the scalar
 * reference's operations in the reference's order. Vector i (16 bytes) holds weight i of the four.
 */

/** Transposes n weights of four sub-blocks, starting at a, b, c and d, to n vectors at dst. n is a multiple of 4. */
export function interleave(a: usize, b: usize, c: usize, d: usize, n: i32, dst: usize): void {
  const end = a + (<usize>n << 2);
  while (a < end) {
    const va = v128.load(a), vb = v128.load(b), vc = v128.load(c), vd = v128.load(d);
    const ab0 = v128.shuffle<i32>(va, vb, 0, 4, 1, 5), ab1 = v128.shuffle<i32>(va, vb, 2, 6, 3, 7);
    const cd0 = v128.shuffle<i32>(vc, vd, 0, 4, 1, 5), cd1 = v128.shuffle<i32>(vc, vd, 2, 6, 3, 7);
    v128.store(dst, v128.shuffle<i64>(ab0, cd0, 0, 2));
    v128.store(dst, v128.shuffle<i64>(ab0, cd0, 1, 3), 16);
    v128.store(dst, v128.shuffle<i64>(ab1, cd1, 0, 2), 32);
    v128.store(dst, v128.shuffle<i64>(ab1, cd1, 1, 3), 48);
    a += 16;
    b += 16;
    c += 16;
    d += 16;
    dst += 64;
  }
}

/** Of n vectors at src, in each lane the value of largest magnitude, with its sign; the first of equals; 0 if all are. */
// @ts-ignore: decorator
@inline
export function signedMaxima(src: usize, n: i32): v128 {
  let largest = f32x4.splat(0);
  let value = f32x4.splat(0);
  for (let i = 0; i < n; i++) {
    const x = v128.load(src + (<usize>i << 4));
    const magnitude = f32x4.abs(x);
    value = v128.bitselect(x, value, f32x4.gt(magnitude, largest));
    largest = f32x4.pmax(largest, magnitude);
  }
  return value;
}

/** Of n floats at src, the one of largest magnitude, with its sign; the first of equals; 0 if all are (or are NaN). */
export function signedMaximum(src: usize, n: i32): f32 {
  let value: f32 = 0;
  for (let i = 0; i < n; i++) {
    const x = load<f32>(src + (<usize>i << 2));
    if (abs<f32>(x) > abs<f32>(value)) value = x;
  }
  return value;
}
