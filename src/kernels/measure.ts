/**
 * Error sums of n weights: x (float32, source) against q (float32, decoded).
 *
 * Element i goes into lane i % 4; at the end (l0 + l1) + (l2 + l3). The scalar twin adds in the same order, so both
 * give the same bits. Writes five float64 to `out`: sum x^2, sum q^2, sum x q, sum (x - q)^2, max |x - q|. The first
 * two are not finite exactly when some x or some q is not (squares of float32 cannot overflow float64).
 */
export function measure(x: usize, q: usize, n: i32, out: usize): void {
  let xxA = f64x2.splat(0),
    xxB = f64x2.splat(0);
  let qqA = f64x2.splat(0),
    qqB = f64x2.splat(0);
  let xqA = f64x2.splat(0),
    xqB = f64x2.splat(0);
  let eeA = f64x2.splat(0),
    eeB = f64x2.splat(0);
  let maxA = f64x2.splat(0),
    maxB = f64x2.splat(0);

  const whole = n & ~3;
  for (let i = 0; i < whole; i += 4) {
    const offset = (<usize>i) << 2;
    const xA = f64x2.promote_low_f32x4(v128.load64_zero(x + offset));
    const xB = f64x2.promote_low_f32x4(v128.load64_zero(x + offset, 8));
    const qA = f64x2.promote_low_f32x4(v128.load64_zero(q + offset));
    const qB = f64x2.promote_low_f32x4(v128.load64_zero(q + offset, 8));
    xxA = f64x2.add(xxA, f64x2.mul(xA, xA));
    xxB = f64x2.add(xxB, f64x2.mul(xB, xB));
    qqA = f64x2.add(qqA, f64x2.mul(qA, qA));
    qqB = f64x2.add(qqB, f64x2.mul(qB, qB));
    xqA = f64x2.add(xqA, f64x2.mul(xA, qA));
    xqB = f64x2.add(xqB, f64x2.mul(xB, qB));
    const eA = f64x2.sub(xA, qA);
    const eB = f64x2.sub(xB, qB);
    eeA = f64x2.add(eeA, f64x2.mul(eA, eA));
    eeB = f64x2.add(eeB, f64x2.mul(eB, eB));
    maxA = f64x2.pmax(maxA, f64x2.abs(eA));
    maxB = f64x2.pmax(maxB, f64x2.abs(eB));
  }

  const lanes = out + 40; // scratch behind the results: four lanes of one sum
  for (let sum = 0; sum < 5; sum++) {
    const a = sum == 0 ? xxA : sum == 1 ? qqA : sum == 2 ? xqA : sum == 3 ? eeA : maxA;
    const b = sum == 0 ? xxB : sum == 1 ? qqB : sum == 2 ? xqB : sum == 3 ? eeB : maxB;
    v128.store(lanes, a);
    v128.store(lanes, b, 16);
    for (let i = whole; i < n; i++) {
      const xi = <f64>load<f32>(x + ((<usize>i) << 2));
      const qi = <f64>load<f32>(q + ((<usize>i) << 2));
      const lane = lanes + ((<usize>(i - whole)) << 3);
      const error = xi - qi;
      if (sum == 4) store<f64>(lane, Math.max(load<f64>(lane), Math.abs(error)));
      else {
        const term = sum == 0 ? xi * xi : sum == 1 ? qi * qi : sum == 2 ? xi * qi : error * error;
        store<f64>(lane, load<f64>(lane) + term);
      }
    }
    const l0 = load<f64>(lanes),
      l1 = load<f64>(lanes, 8),
      l2 = load<f64>(lanes, 16),
      l3 = load<f64>(lanes, 24);
    store<f64>(
      out + ((<usize>sum) << 3),
      sum == 4 ? Math.max(Math.max(l0, l1), Math.max(l2, l3)) : l0 + l1 + (l2 + l3),
    );
  }
}
