import { codesAround, levelsByDivision, levelsByProduct, storeScaled } from './levels';
import { floatOfHalf, halfOf, halfOfQuotient } from './half';
import { sumOfSquares } from './importance';
import { EPS, interleave, signedMaxima, signedMaximum } from './lanes';
import { nearestInt, ROUNDER } from './nearest';
import { searchSymmetric, searchSymmetricOne, weighByImportance, WEIGHTS, XS } from './symmetric';

/**
 * Q3_K: 256 weights as 16 sub-blocks of 16; x = d * (scale - 32) * (code - 4). A block is 32 bytes of high
 * bits, 64 of low pairs, 12 of 6-bit scales and float16 d. Must agree with `quantize_row_q3_K_ref` and
 * `make_q3_quants` (do_rmse), and with `quantize_row_q3_K_impl` under importance, which searches otherwise.
 */

const ZERO: i32 = 0x400000; // a level as `nearestInt` sees it before its subtraction: level + ZERO

const order = memory.data(16, 16); // u8: the sub-blocks in the order in which they take lanes
const xs = memory.data(256, 16); // four sub-blocks, interleaved
const cubes = memory.data(256, 16); // x^2 * x
const lxTerms = memory.data(256, 16); // w x l of each weight, w = x^2
const l2Terms = memory.data(256, 16); // w l^2
const levels = memory.data(1024, 16); // i32, level + ZERO: four groups of four sub-blocks, interleaved
const scales = memory.data(64, 16); // f32 per sub-block, as searched
const present = memory.data(64, 16); // i32 per sub-block: -1, or 0 if all zero
const totals = memory.data(64, 16); // f32 per sub-block, weighted coding: sum of weights
const inverses = memory.data(64, 16); // f32 per sub-block, weighted coding: the inverse scale that won
const storedScales = memory.data(16, 16); // u8 per sub-block: the 6-bit scale
const codes = memory.data(256, 16); // u8 per weight, in order

/**
 * Orders the 16 sub-blocks at src: first those whose value of largest magnitude is negative. Only these can
 * be refined (see `search`), so groups of four lanes that would mostly idle are avoided. The order does not
 * change the result.
 */
function orderSubBlocks(src: usize): void {
  let front: usize = order, back: usize = order + 15;
  for (let j: usize = 0; j < 16; j++, src += 64) {
    const a = v128.load(src), b = v128.load(src, 16), c = v128.load(src, 32), d = v128.load(src, 48);
    let high = f32x4.pmax(f32x4.pmax(a, b), f32x4.pmax(c, d));
    let low = f32x4.pmin(f32x4.pmin(a, b), f32x4.pmin(c, d));
    high = f32x4.pmax(high, v128.shuffle<i32>(high, high, 2, 3, 0, 1));
    low = f32x4.pmin(low, v128.shuffle<i32>(low, low, 2, 3, 0, 1));
    high = f32x4.pmax(high, v128.shuffle<i32>(high, high, 1, 0, 3, 2));
    low = f32x4.pmin(low, v128.shuffle<i32>(low, low, 1, 0, 3, 2));
    const negative = <usize>(f32x4.extract_lane(high, 0) < -f32x4.extract_lane(low, 0));
    store<u8>(front, <u8>j);
    store<u8>(back, <u8>j);
    front += negative;
    back -= 1 - negative;
  }
}

// @ts-ignore: decorator
@inline
function weightsAt(src: usize, position: usize): usize {
  return src + (<usize>load<u8>(order + position) << 6);
}

/** `nearestInt` limited to -4..3, as level + ZERO. */
// @ts-ignore: decorator
@inline
function levelOf(v: v128): v128 {
  const rounded = v128.and(f32x4.add(v, f32x4.splat(ROUNDER)), i32x4.splat(0x7fffff));
  return i32x4.max_s(i32x4.splat(ZERO - 4), i32x4.min_s(i32x4.splat(ZERO + 3), rounded));
}

/**
 * Scales and levels of the four sub-blocks at `position` in the order. Starts with levels at the inverse
 * scale -4 / max; then single levels move, up to five times over the sub-block, as long as the error of the
 * least-squares scale lx / l2 falls, where lx = sum w x l, l2 = sum w l^2, w = x^2.
 *
 * While max > 0, -4 / max makes every term of lx negative or zero and nothing moves. Sixteen steps on end
 * without a move are a fixed point, at which the reference's remaining steps would change nothing.
 */
function search(src: usize, position: usize): void {
  interleave(
    weightsAt(src, position),
    weightsAt(src, position + 1),
    weightsAt(src, position + 2),
    weightsAt(src, position + 3),
    16,
    xs,
  );
  const group = levels + (position << 6);
  const max = signedMaxima(xs, 16);
  const inverse = f32x4.div(f32x4.splat(-4), max);
  let lx = f32x4.splat(0), l2 = f32x4.splat(0);
  for (let i: usize = 0; i < 256; i += 16) {
    const x = v128.load(xs + i);
    const w = f32x4.mul(x, x);
    const cube = f32x4.mul(w, x);
    const code = levelOf(f32x4.mul(inverse, x));
    const level = f32x4.convert_i32x4_s(i32x4.sub(code, i32x4.splat(ZERO)));
    const lxTerm = f32x4.mul(cube, level);
    const l2Term = f32x4.mul(f32x4.mul(w, level), level);
    v128.store(cubes + i, cube);
    v128.store(group + i, code);
    v128.store(lxTerms + i, lxTerm);
    v128.store(l2Terms + i, l2Term);
    lx = f32x4.add(lx, lxTerm);
    l2 = f32x4.add(l2, l2Term);
  }

  if (v128.any_true(f32x4.gt(lx, f32x4.splat(0)))) {
    for (let step = 0, quiet = 0; step < 80 && quiet < 16; step++, quiet++) {
      const i: usize = (step & 15) << 4;
      const x = v128.load(xs + i), code = v128.load(group + i);
      const lxOthers = f32x4.sub(lx, v128.load(lxTerms + i));
      const l2Others = f32x4.sub(l2, v128.load(l2Terms + i));
      const wanted = levelOf(f32x4.div(f32x4.mul(x, l2Others), lxOthers));
      const candidate = v128.andnot(f32x4.gt(lxOthers, f32x4.splat(0)), i32x4.eq(wanted, code));
      if (!v128.any_true(candidate)) continue;
      const level = f32x4.convert_i32x4_s(i32x4.sub(wanted, i32x4.splat(ZERO)));
      const lxTerm = f32x4.mul(v128.load(cubes + i), level);
      const l2Term = f32x4.mul(f32x4.mul(f32x4.mul(x, x), level), level);
      const lxNew = f32x4.add(lxOthers, lxTerm), l2New = f32x4.add(l2Others, l2Term);
      const better = f32x4.gt(f32x4.mul(f32x4.mul(lxNew, lxNew), l2), f32x4.mul(f32x4.mul(lx, lx), l2New));
      const moves = v128.and(candidate, v128.and(better, f32x4.gt(l2New, f32x4.splat(0))));
      if (!v128.any_true(moves)) continue;
      quiet = -1;
      lx = v128.bitselect(lxNew, lx, moves);
      l2 = v128.bitselect(l2New, l2, moves);
      v128.store(group + i, v128.bitselect(wanted, code, moves));
      v128.store(lxTerms + i, v128.bitselect(lxTerm, v128.load(lxTerms + i), moves));
      v128.store(l2Terms + i, v128.bitselect(l2Term, v128.load(l2Terms + i), moves));
    }
  }

  const nonzero = f32x4.ge(f32x4.abs(max), f32x4.splat(EPS));
  const scale = v128.and(f32x4.div(lx, l2), v128.and(nonzero, f32x4.gt(l2, f32x4.splat(0))));
  v128.store32_lane(scales + (<usize>load<u8>(order + position) << 2), scale, 0);
  v128.store32_lane(scales + (<usize>load<u8>(order + position, 1) << 2), scale, 1);
  v128.store32_lane(scales + (<usize>load<u8>(order + position, 2) << 2), scale, 2);
  v128.store32_lane(scales + (<usize>load<u8>(order + position, 3) << 2), scale, 3);
  v128.store(present + (position << 2), nonzero);
}

/** Codes of the sub-block at `position`, as the search left them. */
function codesOfSearch(position: usize): void {
  const to = codes + (<usize>load<u8>(order + position) << 4);
  const from = levels + ((position >> 2) << 8) + ((position & 3) << 2);
  const keep = load<i32>(present + (position << 2));
  for (let i: usize = 0; i < 16; i++) {
    store<u8>(to + i, <u8>((load<i32>(from + (i << 4)) - (ZERO - 4)) & keep));
  }
}

export function quantize_Q3_K(src: usize, dst: usize, n: i32): void {
  const end = src + (<usize>n << 2);
  for (; src < end; src += 1024, dst += 110) {
    orderSubBlocks(src);
    for (let position: usize = 0; position < 16; position += 4) search(src, position);

    const largest = signedMaximum(scales, 16);
    const inverse = <f32>-32 / largest;
    const half: u16 = largest == 0 ? 0 : halfOf(<f32>1 / inverse);
    const d = floatOfHalf(half);
    store<u16>(dst, half, 108);
    for (let position: usize = 0; position < 16; position++) {
      const j = <usize>load<u8>(order + position);
      let level = -32;
      if (largest != 0) {
        level = nearestInt(inverse * load<f32>(scales + (j << 2)));
        level = max(-32, min(31, level));
      }
      store<u8>(storedScales + j, <u8>(level + 32));
      const step = d * <f32>level;
      if (step == 0) codesOfSearch(position);
      else v128.store(codes + (j << 4), codesAround(4, levelsByDivision(src + (j << 6), step)));
    }
    packScales(dst + 96);
    pack(dst);
  }
}

export function quantize_Q3_K_weighted(src: usize, dst: usize, rows: i32, rowLength: i32, importance: usize): void {
  for (let row = 0; row < rows; row++) {
    for (let column: usize = 0; column < <usize>rowLength << 2; column += 1024, src += 1024, dst += 110) {
      const variance = f32x4.splat(<f32>2 * sumOfSquares(src, 256) / 256);
      for (let group: usize = 0; group < 4; group++) {
        const x = src + (group << 8), w = importance + column + (group << 8);
        interleave(x, x + 64, x + 128, x + 192, 16, XS);
        interleave(w, w + 64, w + 128, w + 192, 16, WEIGHTS);
        weighByImportance(16, variance);
        let total = v128.load(WEIGHTS);
        for (let i: usize = 16; i < 256; i += 16) total = f32x4.add(total, v128.load(WEIGHTS + i));
        v128.store(totals + (group << 4), total);
        searchSymmetric(16, 4, scales + (group << 4), inverses + (group << 4));
      }

      const half = halfOfQuotient(searchSymmetricOne(scales, totals, 32, storedScales));
      const d = floatOfHalf(half);
      store<u16>(dst, half, 108);
      for (let j: usize = 0; j < 16; j++) {
        const step = d * <f32>(<i32>load<u8>(storedScales + j) - 32);
        const x = src + (j << 6), searched = load<f32>(inverses + (j << 2));
        // Where the stored scale vanishes, the codes of the search stay: 0 for a sub-block of zeros.
        let code = i8x16.splat(0);
        if (step != 0) code = codesAround(4, levelsByDivision(x, step));
        else if (searched != 0) code = codesAround(4, levelsByProduct(x, searched));
        v128.store(codes + (j << 4), code);
      }
      packScales(dst + 96);
      pack(dst);
    }
  }
}

/**
 * Codes to bits and pairs: in each half of 128 weights, four runs of 32 share low pairs; all eight runs
 * share high bits.
 */
function pack(dst: usize): void {
  const bit = i8x16.splat(4);
  for (let i: usize = 0; i < 32; i += 16) {
    const at = codes + i;
    const q0 = v128.load(at), q1 = v128.load(at, 32), q2 = v128.load(at, 64), q3 = v128.load(at, 96);
    const q4 = v128.load(at, 128), q5 = v128.load(at, 160), q6 = v128.load(at, 192), q7 = v128.load(at, 224);
    const low = v128.or(
      v128.or(i16x8.shr_u(v128.and(q0, bit), 2), i16x8.shr_u(v128.and(q1, bit), 1)),
      v128.or(v128.and(q2, bit), i16x8.shl(v128.and(q3, bit), 1)),
    );
    const high = v128.or(
      v128.or(i16x8.shl(v128.and(q4, bit), 2), i16x8.shl(v128.and(q5, bit), 3)),
      v128.or(i16x8.shl(v128.and(q6, bit), 4), i16x8.shl(v128.and(q7, bit), 5)),
    );
    v128.store(dst + i, v128.or(low, high));
    v128.store(dst + i, lowPairs(q0, q1, q2, q3), 32);
    v128.store(dst + i, lowPairs(q4, q5, q6, q7), 64);
  }
}

// @ts-ignore: decorator
@inline
function lowPairs(q0: v128, q1: v128, q2: v128, q3: v128): v128 {
  const pair = i8x16.splat(3);
  return v128.or(
    v128.or(v128.and(q0, pair), i16x8.shl(v128.and(q1, pair), 2)),
    v128.or(i16x8.shl(v128.and(q2, pair), 4), i16x8.shl(v128.and(q3, pair), 6)),
  );
}

/** Sixteen 6-bit scales to 8 bytes of low nibbles, 4 of high pairs. */
function packScales(dst: usize): void {
  const nibbles: u64 = 0x0f0f0f0f0f0f0f0f;
  const pairs: u32 = 0x30303030;
  store<u64>(dst, (load<u64>(storedScales) & nibbles) | ((load<u64>(storedScales, 8) & nibbles) << 4));
  store<u32>(
    dst,
    ((load<u32>(storedScales) & pairs) >> 4) |
      ((load<u32>(storedScales, 4) & pairs) >> 2) |
      (load<u32>(storedScales, 8) & pairs) |
      ((load<u32>(storedScales, 12) & pairs) << 2),
    8,
  );
}

/** The scales of a block, from its 12 bytes at src to `storedScales`. */
function unpackScales(src: usize): void {
  const nibbles: u64 = 0x0f0f0f0f0f0f0f0f;
  const pairs: u32 = 0x30303030;
  const low = load<u64>(src), high = load<u32>(src, 8);
  store<u64>(storedScales, low & nibbles);
  store<u64>(storedScales, (low >> 4) & nibbles, 8);
  store<u32>(storedScales, load<u32>(storedScales) | ((high << 4) & pairs));
  store<u32>(storedScales, load<u32>(storedScales, 4) | ((high << 2) & pairs), 4);
  store<u32>(storedScales, load<u32>(storedScales, 8) | (high & pairs), 8);
  store<u32>(storedScales, load<u32>(storedScales, 12) | ((high >> 2) & pairs), 12);
}

export function dequantize_Q3_K(src: usize, dst: usize, n: i32): void {
  const end = dst + (<usize>n << 2);
  const pair = i8x16.splat(3), four = i8x16.splat(4);
  for (; dst < end; src += 110) {
    const d = floatOfHalf(load<u16>(src, 108));
    unpackScales(src + 96);
    const bits0 = v128.load(src), bits1 = v128.load(src, 16);
    let bit = i8x16.splat(1);
    for (let run: usize = 0; run < 8; run++, dst += 128) {
      const shift = <i32>(run & 3) << 1;
      const low = src + (run >> 2 << 5);
      const scale = storedScales + (run << 1);
      // A high bit that is not set takes 4 from the pair.
      const below0 = v128.and(i8x16.eq(v128.and(bits0, bit), i8x16.splat(0)), four);
      const below1 = v128.and(i8x16.eq(v128.and(bits1, bit), i8x16.splat(0)), four);
      const pairs0 = v128.and(i16x8.shr_u(v128.load(low, 32), shift), pair);
      const pairs1 = v128.and(i16x8.shr_u(v128.load(low, 48), shift), pair);
      storeScaled(dst, d * <f32>(<i32>load<u8>(scale) - 32), i8x16.sub(pairs0, below0));
      storeScaled(dst + 64, d * <f32>(<i32>load<u8>(scale, 1) - 32), i8x16.sub(pairs1, below1));
      bit = i8x16.add(bit, bit);
    }
  }
}
