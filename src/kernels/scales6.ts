/**
 * The 12 bytes in which Q4_K and Q5_K keep eight 6-bit scales s and eight 6-bit minima m, as three u32 of four bytes
 * each: s0..3 with the upper 2 bits of s4..7 above them; the same of m; the lower 4 bits of s4..7 with those of
 * m4..7 above them. ggml: get_scale_min_k4.
 */

/** Packs scales and minima, byte j of each u64 being 0..63. */
// @ts-ignore: decorator
@inline
export function packScales6(scales: u64, mins: u64, dst: usize): void {
  const s0 = <u32>scales, s4 = <u32>(scales >> 32);
  const m0 = <u32>mins, m4 = <u32>(mins >> 32);
  store<u32>(dst, s0 | ((s4 & 0x30303030) << 2));
  store<u32>(dst, m0 | ((m4 & 0x30303030) << 2), 4);
  store<u32>(dst, (s4 & 0x0f0f0f0f) | ((m4 & 0x0f0f0f0f) << 4), 8);
}

/** The eight scales packed at src, one a byte. */
// @ts-ignore: decorator
@inline
export function unpackScales(src: usize): u64 {
  const low = load<u32>(src);
  return <u64>(low & 0x3f3f3f3f) | (<u64>((load<u32>(src, 8) & 0x0f0f0f0f) | ((low >> 2) & 0x30303030)) << 32);
}

/** The eight minima packed at src, one a byte. */
// @ts-ignore: decorator
@inline
export function unpackMins(src: usize): u64 {
  const low = load<u32>(src, 4);
  return (
    <u64>(low & 0x3f3f3f3f) | (<u64>(((load<u32>(src, 8) >> 4) & 0x0f0f0f0f) | ((low >> 2) & 0x30303030)) << 32)
  );
}
