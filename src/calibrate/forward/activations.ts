import { multiply } from '../../compute/gemm.ts';
import type { Placed } from '../../compute/tasks.ts';
import type { Team } from '../../compute/team.ts';
import {
  type ActivationScheme,
  activationsName,
  bitsOf,
  highestCode,
  inputKey,
  type StaticRange,
} from '../../core/activations.ts';
import { UsageError } from '../../core/errors.ts';
import type { Operations } from '../../core/evaluation.ts';
import { dataTypes, type TypeName } from '../../core/types.ts';
import { INPUT_ROWS, type RowCoding, TERNARY_ROWS, TERNARY_TOKENS } from './activation-tasks.ts';
import type { GroupInput } from './step.ts';
import type { Weight } from './weights.ts';

/** Types whose weights are -1, 0 or 1 times the scale of their block. */
export const isTernary = (type: TypeName): boolean => ['TQ1_0', 'TQ2_0', 'Q1_0'].includes(type);

/** What the inputs of a matrix of some type become in llama.cpp's CPU code: `vec_dot_type` of `type_traits_cpu`. */
type VectorType = 'F32' | 'F16' | 'BF16' | 'Q8_0' | 'Q8_K';

/** Q8_1 has the codes and scales of Q8_0. */
function vectorType(type: TypeName): VectorType {
  if (type === 'F16' || type === 'BF16') return type;
  const { kind, blockSize } = dataTypes[type];
  if (kind !== 'quantized') return 'F32';
  return blockSize === 256 ? 'Q8_K' : 'Q8_0';
}

/** A coding of rows: what the task `codeInputs` is told. Codings of one name give the same. */
interface Coding {
  readonly name: string;
  readonly rows: RowCoding;
  readonly numbers: readonly number[];
}

/**
 * Products of a forward pass with inputs that are quantized first. The inputs become what their codes stand for, and the product
 * is calculated in float32; only of `bitlinear` it is one of integers.
 */
export class Activations {
  readonly scheme: ActivationScheme;
  readonly #team: Team;
  readonly #ranges: ReadonlyMap<string, StaticRange> | null;
  /** Coded copies of inputs that are still in the arena. */
  readonly #coded = new WeakMap<GroupInput, Map<string, Placed>>();
  readonly #operations = { additions: 0, zeros: 0, multiplications: 0, ternary: 0, float: 0 };
  #matrices = new Set<string>();
  #floatMatrices = new Set<string>();
  /** Matrices whose inputs had codes, and those whose inputs stayed as they are or were rounded to a float of 16 bits. */
  readonly #seen = { coded: new Set<string>(), float: new Set<string>() };

  /** `ranges`: for the scheme `static`, by `inputKey`. */
  constructor(team: Team, scheme: ActivationScheme, ranges: ReadonlyMap<string, StaticRange> | null) {
    this.#team = team;
    this.scheme = scheme;
    this.#ranges = ranges;
  }

  /** Bits of an input: 16, which stands for a float, where no matrix had its inputs in codes. */
  get bits(): number {
    const { coded, float } = this.#seen;
    return coded.size === 0 && float.size > 0 ? bitsOf({ kind: 'none' }) : bitsOf(this.scheme);
  }

  /** How many matrices had inputs of 16 bits or more, and of how many; of `dynamic-block`, which goes by the type of the weights. */
  get floatInputs(): { readonly matrices: number; readonly of: number } | null {
    const { coded, float } = this.#seen;
    return float.size === 0 ? null : { matrices: float.size, of: coded.size + float.size };
  }

  /** What the products took; null for a scheme that does not multiply in its own way. */
  get operations(): Operations | null {
    if (this.scheme.kind !== 'bitlinear') return null;
    const { additions, zeros, multiplications, ternary, float } = this.#operations;
    return {
      ternaryMatrices: this.#matrices.size,
      otherMatrices: this.#floatMatrices.size,
      additions,
      skippedZeros: zeros,
      multiplications,
      multiplicationsSaved: ternary - multiplications,
      otherMultiplications: float,
    };
  }

  /**
   * c = quantized inputs times W^T, or added to c. Takes buffers from the arena that the caller gives back with the inputs'.
   *
   * @throws UsageError for inputs without a static range
   */
  multiply(input: GroupInput, weight: Weight, c: Placed, accumulate: boolean): void {
    const ternary = this.scheme.kind === 'bitlinear' && isTernary(weight.type);
    if (this.scheme.kind === 'bitlinear') {
      (ternary ? this.#matrices : this.#floatMatrices).add(inputKey(weight.name, input.group.expert));
    }
    if (ternary) {
      this.#multiplyTernary(input, weight, c, accumulate);
      return;
    }
    const { rows } = input;
    this.#operations.float += rows * weight.rows * weight.columns;
    const { x, ld } = this.#codedInput(input, weight);
    multiply(this.#team, {
      ...{ m: rows, n: weight.rows, k: weight.columns },
      ...{ a: x, lda: ld, b: weight.address, ldb: weight.columns, transposeB: true },
      ...{ c: c.x, ldc: c.ld, accumulate },
    });
  }

  /** The inputs as a matrix sees them; the same copy for all that see the same. */
  #codedInput(input: GroupInput, weight: Weight): Placed {
    const { x, ldx, rows, group } = input;
    const coding = this.#codingOf(input, weight);
    if (this.scheme.kind === 'dynamic-block') {
      const isFloat = coding === null || coding.rows === 'half' || coding.rows === 'bfloat';
      this.#seen[isFloat ? 'float' : 'coded'].add(inputKey(weight.name, input.group.expert));
    }
    if (coding === null) return { x, ld: ldx };
    const copies = this.#coded.get(input) ?? new Map<string, Placed>();
    this.#coded.set(input, copies);
    const kept = copies.get(coding.name);
    if (kept !== undefined) return kept;
    const { columns } = group;
    const made = { x: this.#team.arena.takeFloats(rows * columns, 'quantized inputs'), ld: columns };
    copies.set(coding.name, made);
    const args = [rows, x, ldx, made.x, columns, ...coding.numbers];
    this.#team.run('codeInputs', Math.ceil(rows / INPUT_ROWS), args, coding.rows);
    return made;
  }

  /** Null where the inputs stay as they are. */
  #codingOf({ group }: GroupInput, weight: Weight): Coding | null {
    const { scheme } = this;
    if (scheme.kind === 'none' || scheme.kind === 'bitlinear') return null;
    const highest = highestCode(scheme);
    const runs = (block: number, half: boolean): Coding => {
      const rows = !scheme.symmetric ? 'affine' : half ? 'symmetric-half' : 'symmetric';
      return { name: `${block}`, rows, numbers: [block, highest] };
    };
    switch (scheme.kind) {
      case 'dynamic':
        return runs(group.columns, false);
      case 'dynamic-block':
        switch (vectorType(weight.type)) {
          case 'F32':
            return null;
          case 'F16':
            return { name: 'F16', rows: 'half', numbers: [] };
          case 'BF16':
            return { name: 'BF16', rows: 'bfloat', numbers: [] };
          case 'Q8_0':
            return runs(32, true);
          case 'Q8_K':
            return runs(256, false);
        }
        break;
      case 'static': {
        const key = inputKey(weight.name, group.expert);
        const range = this.#ranges?.get(key);
        if (range === undefined) {
          throw new UsageError('the statistics have no range for the inputs of a matrix', {
            tensor: key,
            expected: `a range for ${activationsName(scheme)}`,
            got: 'none',
            advice: 'make them from this model: quantize calibrate MODEL -o stats.json',
          });
        }
        const { scale, zeroPoint } = range;
        const numbers = [scale, zeroPoint, scheme.symmetric ? -highest : 0, highest];
        return { name: 'static', rows: 'fixed', numbers };
      }
    }
  }

  /** BitLinear: int8 codes with a scale for each token, ternary weights, sums of integers. */
  #multiplyTernary(input: GroupInput, weight: Weight, c: Placed, accumulate: boolean): void {
    const { arena, scope } = this.#team;
    const { x, ldx, rows: m } = input;
    const { rows: n, columns: k, address, type } = weight;
    const { blockSize: block } = dataTypes[type];
    const [blocks, pieces] = [(n * k) / block, Math.ceil(n / TERNARY_ROWS)];
    arena.scoped(() => {
      const codes = arena.take(m * k, 'codes of inputs'); // m x k int8
      const tokenScales = arena.takeFloats(m, 'scales of inputs');
      this.#team.run('byteInputs', Math.ceil(m / INPUT_ROWS), [m, x, ldx, k, codes, tokenScales]);
      const masks = arena.take(2 * n * k, 'masks of weights');
      const blockScales = arena.takeFloats(blocks, 'scales of weights');
      const counts = arena.take(8 * pieces, 'counts of weights');
      this.#team.run('maskWeights', pieces, [n, address, k, block, masks, blockScales, counts]);
      let counted = 0;
      for (const count of scope.doubles(counts, pieces)) {
        if (count < 0) throw new Error(`${weight.name} of type ${type} has weights that are not ternary`);
        counted += count;
      }
      const shared = sharedScale(scope.floats(blockScales, blocks));
      this.#team.run('ternaryMultiply', pieces * Math.ceil(m / TERNARY_TOKENS), [
        ...[m, n, k, codes, tokenScales, masks, blockScales, block, shared],
        ...[c.x, c.ld, Number(accumulate)],
      ]);
      const operations = this.#operations;
      operations.additions += m * counted;
      operations.zeros += m * (n * k - counted);
      operations.ternary += m * n * k;
      // The scale of a token, and that of the weights: once, or for each block.
      operations.multiplications += m * (n + (shared === 0 ? blocks : n));
    });
  }
}

/** The scale that all blocks have but those of zeros only; 0 where they differ. */
function sharedScale(scales: Float32Array): number {
  let found = 0;
  for (const scale of scales) {
    if (scale === 0 || scale === found) continue;
    if (found !== 0) return 0;
    found = scale;
  }
  return found;
}
