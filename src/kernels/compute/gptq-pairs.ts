/**
 * The search for pairs of codes of GPTQ. Definitions and the names of the arguments are those of
 * src/quantize/gptq/block-kernels.ts; scalar.ts there must agree bit for bit.
 */

/** The largest of four lanes. */
// @ts-ignore: decorator
@inline
function largest(x: v128): f32 {
  const a = f32x4.extract_lane(x, 0), b = f32x4.extract_lane(x, 1), c = f32x4.extract_lane(x, 2), d = f32x4.extract_lane(x, 3);
  const ab = a > b ? a : b, cd = c > d ? c : d;
  return ab > cd ? ab : cd;
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
