/**
 * Rotary position embedding of one token's `heads` heads of `size` float32 at x, in place (Su et al. 2021; ggml_rope_ext).
 * `table`: for the token's position `size` cosines, one an element, then `size` sines, negative for the first of each pair.
 * Pairs are the elements 2i and 2i + 1.
 */
export function ropePairs(x: usize, heads: i32, size: i32, table: usize): void {
  const sines = table + ((<usize>size) << 2);
  const whole = size & ~3;
  for (let head = 0; head < heads; head++, x += (<usize>size) << 2) {
    for (let i = 0; i < whole; i += 4) {
      const at = (<usize>i) << 2;
      const value = v128.load(x + at);
      const swapped = v128.shuffle<i32>(value, value, 1, 0, 3, 2);
      v128.store(
        x + at,
        f32x4.add(
          f32x4.mul(value, v128.load(table + at)),
          f32x4.mul(swapped, v128.load(sines + at)),
        ),
      );
    }
    if (whole < size) rotate(x + ((<usize>whole) << 2), x + ((<usize>whole) << 2) + 4, whole, table, sines);
  }
}

/** The same with pairs of the elements i and i + size / 2; the table's entries of both halves are the same, but for the sign. */
export function ropeHalves(x: usize, heads: i32, size: i32, table: usize): void {
  const sines = table + ((<usize>size) << 2);
  const half = size >> 1;
  const whole = half & ~3;
  for (let head = 0; head < heads; head++, x += (<usize>size) << 2) {
    const other = x + ((<usize>half) << 2);
    for (let i = 0; i < whole; i += 4) {
      const at = (<usize>i) << 2;
      const cosine = v128.load(table + at);
      const sine = v128.load(sines + at);
      const low = v128.load(x + at);
      const high = v128.load(other + at);
      v128.store(x + at, f32x4.add(f32x4.mul(low, cosine), f32x4.mul(high, sine)));
      v128.store(other + at, f32x4.sub(f32x4.mul(high, cosine), f32x4.mul(low, sine)));
    }
    for (let i = whole; i < half; i++) {
      rotate(x + ((<usize>i) << 2), other + ((<usize>i) << 2), i, table, sines);
    }
  }
}

// @ts-ignore: decorator
@inline
function rotate(first: usize, second: usize, entry: i32, table: usize, sines: usize): void {
  const cosine = load<f32>(table + ((<usize>entry) << 2));
  const sine = load<f32>(sines + ((<usize>entry) << 2));
  const a = load<f32>(first);
  const b = load<f32>(second);
  store<f32>(first, a * cosine + b * sine);
  store<f32>(second, b * cosine - a * sine);
}
