/**
 * Checksum of `length` bytes, as `checksum` in src/quantize/checksum.ts defines it: 32 lanes of 32 bits, here eight
 * vectors of four.
 */
const LANES = memory.data(128, 16);
const PRIME: u32 = 0x9e3779b1;
const STRIPE: usize = 128;

// @ts-ignore: decorator
@inline
function mix(lanes: v128, words: v128): v128 {
  const product = i32x4.mul(v128.xor(lanes, words), i32x4.splat(PRIME));
  return v128.xor(product, i32x4.shr_u(product, 15));
}

function mixOne(lane: u32, word: u32): u32 {
  const product = (lane ^ word) * PRIME;
  return product ^ (product >> 15);
}

export function checksum(bytes: usize, length: i32): u32 {
  let a = i32x4(1, 2, 3, 4),
    b = i32x4(5, 6, 7, 8),
    c = i32x4(9, 10, 11, 12),
    d = i32x4(13, 14, 15, 16),
    e = i32x4(17, 18, 19, 20),
    f = i32x4(21, 22, 23, 24),
    g = i32x4(25, 26, 27, 28),
    h = i32x4(29, 30, 31, 32);
  const end = bytes + <usize>length;
  let at = bytes;
  for (; at + STRIPE <= end; at += STRIPE) {
    a = mix(a, v128.load(at));
    b = mix(b, v128.load(at, 16));
    c = mix(c, v128.load(at, 32));
    d = mix(d, v128.load(at, 48));
    e = mix(e, v128.load(at, 64));
    f = mix(f, v128.load(at, 80));
    g = mix(g, v128.load(at, 96));
    h = mix(h, v128.load(at, 112));
  }
  v128.store(LANES, a);
  v128.store(LANES, b, 16);
  v128.store(LANES, c, 32);
  v128.store(LANES, d, 48);
  v128.store(LANES, e, 64);
  v128.store(LANES, f, 80);
  v128.store(LANES, g, 96);
  v128.store(LANES, h, 112);

  for (let lane = LANES; at < end; lane += 4) {
    let word: u32 = 0;
    for (let shift = 0; shift < 32 && at < end; shift += 8) word |= (<u32>load<u8>(at++)) << shift;
    store<u32>(lane, mixOne(load<u32>(lane), word));
  }
  let sum = <u32>length;
  for (let lane: usize = 0; lane < STRIPE; lane += 4) {
    sum = mixOne(sum, load<u32>(LANES + lane));
  }
  return sum;
}
