/**
 * The inner loops of GPTQ on one row of a matrix and one block of its columns: the kernels of src/kernels/compute/gptq*.ts and
 * their readable twins in scalar.ts, which agree bit for bit. Arithmetic is float32; sums over rows of a matrix run in order of
 * the rows.
 *
 * A loss is ||(t - q) R||^2 with R upper triangular: t is the target, q what the codes decode to. Arguments are addresses in
 * bytes; vectors have `width` float32, a multiple of 16. `r` is the address of R_00, its rows are `stride` bytes apart, and
 * what lies below its diagonal in the four columns of a group is 0. inverses: 1 / R_jj. A column of level l decodes to
 * scale * l + offset. Levels are the integers low..high, or, where `table` is not 0, the 16 ascending values at that
 * address; behind them (from 64 bytes on) lie the 15 midpoints between neighbours, and (from 128 on) the 15 differences.
 *
 * No number is NaN. Candidates are judged eight at a time (gptqTry: or four). Their scales come first in `candidates`, then their offsets; what is computed of a
 * column lies side by side, eight float32.
 */
export interface BlockKernels {
  /** out += coefficients A: `rows` coefficients (a multiple of 4), rows of A `stride` bytes apart, `width` columns. */
  gptqCombine(
    rows: number,
    width: number,
    coefficients: number,
    a: number,
    stride: number,
    out: number,
  ): void;
  /** out = x R. */
  gptqProduct(width: number, x: number, r: number, stride: number, out: number): void;
  /** target = weights + x, where x R = carried. */
  gptqTarget(
    width: number,
    weights: number,
    carried: number,
    r: number,
    stride: number,
    inverses: number,
    sums: number,
    target: number,
  ): void;
  /** out R^T = gradient. */
  gptqBacksolve(
    width: number,
    gradient: number,
    r: number,
    stride: number,
    inverses: number,
    out: number,
  ): void;
  /**
   * The best scales and offsets for plain rounding under `weights`. An inverse scale gives each column the level nearest to
   * (t - least) * inverse, and those levels give scale and offset by least squares (in float64). Inverse scales are the `count`
   * float64 (a multiple of 8) at `multiples`, over the range of the targets. Offsets are of kind 0: none, 1: never positive,
   * 2: any. `least` is the least target, with kind 1 at most 0; without offsets it is 0, and the range is the target of largest
   * magnitude, without its sign where levels are even about 0. Writes the candidates, least weighted error first, and returns
   * how many, 8 at most; 0 where all targets are 0, one is infinite, or no levels have weight. scratch: 192 bytes.
   */
  gptqScan(
    width: number,
    target: number,
    weights: number,
    multiples: number,
    count: number,
    offsets: number,
    low: number,
    high: number,
    table: number,
    scratch: number,
    candidates: number,
  ): number;
  /**
   * Rounding with error feedback at eight scales and offsets: v_j = t_j + sum_{i<j} (t_i - q_i) R_ij / R_jj, q_j = the value
   * nearest to v_j. It is done in units of a scale: t, v and q less the offset, over the scale (over 1 where it is 0). units: the
   * sub-block of R, width x width, its columns over R_jj but with R_jj itself on the diagonal. Writes the levels (eight a
   * column) and the losses; where `count` is at most 4, of the first four candidates only.
   */
  gptqTry(
    count: number,
    width: number,
    target: number,
    units: number,
    candidates: number,
    low: number,
    high: number,
    table: number,
    sums: number,
    levels: number,
    losses: number,
  ): void;
  /** Writes y y, y image and y ones for y = l R, of eight vectors l: eight of each. image = t R, ones = 1 R. */
  gptqFit(
    width: number,
    image: number,
    ones: number,
    levels: number,
    r: number,
    stride: number,
    sums: number,
    out: number,
  ): void;
  /** The same of one of eight vectors, `lanes` being where its first level is; sums as those of gptqDot. */
  gptqFitLane(
    width: number,
    image: number,
    ones: number,
    lanes: number,
    r: number,
    stride: number,
    sums: number,
    out: number,
  ): void;
  /** Rounding with error feedback as gptqTry, each column having its own scale and offset. */
  gptqFeedback(
    width: number,
    target: number,
    r: number,
    stride: number,
    inverses: number,
    scales: number,
    offsets: number,
    low: number,
    high: number,
    table: number,
    sums: number,
    levels: number,
    decoded: number,
  ): void;
  /**
   * One sweep of coordinate descent over columns from..to - 1 of `width`: each moves to its best level while the others stay.
   * H (width x width) is the matrix of the loss, gradient = (t - q) H is kept up to date, as are levels and decoded.
   * reciprocals: 1 / H_jj. Returns how many moved.
   */
  gptqDescend(
    from: number,
    to: number,
    width: number,
    h: number,
    reciprocals: number,
    scale: number,
    offset: number,
    low: number,
    high: number,
    table: number,
    gradient: number,
    levels: number,
    decoded: number,
  ): number;
  /** a b, n a multiple of 4: four interleaved sums, added as (0 + 1) + (2 + 3). */
  gptqDot(n: number, a: number, b: number): number;
  /** Takes one of eight candidates' levels: writes them, what they decode to, and what that leaves of the target. */
  gptqTake(
    width: number,
    lanes: number,
    lane: number,
    target: number,
    scale: number,
    offset: number,
    levels: number,
    decoded: number,
    errors: number,
  ): void;
  /**
   * Steps for `count` values in -1..1, to be stored as integers of low..high, an error in value s costing curvatures[s].
   * Of 64 inverse steps around `end` each fourth, from 0 to 3 on, shares a lane; writes of each lane how much its best least-
   * squares step gains (-1: nothing does), and that step, 4 float32 each.
   */
  gptqSteps(
    count: number,
    values: number,
    curvatures: number,
    end: number,
    low: number,
    high: number,
    out: number,
  ): void;
  /**
   * Moves the first column i >= `from` that gains together with a later one, of `width`, and that one; returns i, or `width`
   * where there is none. A column has a move up and, 1024 bytes behind it, one down, 0 for none. Alone a move a gains
   * a (2 G_i - a H_ii), which counts as nothing where it is more; two gain what both do, less 2 a b H_ij, and that must be more
   * than `least` (a^2 H_ii + b^2 H_jj). Of all pairs of that column the one that gains the most, the earliest of equals: writes
   * i and j at `out`, int32, + 256 for down, and keeps the gradient G up to date. diagonal: H_jj. gains: scratch, as the moves.
   */
  gptqPair(
    from: number,
    width: number,
    h: number,
    diagonal: number,
    gradient: number,
    moves: number,
    gains: number,
    least: number,
    out: number,
  ): number;
}
