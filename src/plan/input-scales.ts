import {
  type ActivationRange,
  type ActivationStatistics,
  inputKey,
  isInputScale,
  type RangeMethod,
  staticRanges,
} from '../core/activations.ts';
import { UsageError } from '../core/errors.ts';
import type { PlannedTensor } from '../core/plan.ts';

/**
 * Matrices whose `.input_scale` llama.cpp loads, whatever their type (`load_tensors` of llama.cpp v0.5.0). That of the output it
 * knows for NVFP4 only, and a file with a tensor that it does not know is refused.
 */
const LOADED = /^blk\.\d+\.(attn_(q|k|v|qkv|output)|ffn_(gate|up|down)(_exps)?)\.weight$/;

/** Codes of these scales. */
const GRID = { bits: 8, symmetric: true } as const;

/** Ranges of 8-bit codes around 0 for the inputs of every matrix, as the report has them; of experts the widest. */
export function reportedRanges(statistics: ActivationStatistics): ActivationRange[] {
  const found = new Map<string, Record<RangeMethod, number>>();
  for (const { tensors, ranges } of statistics.groups) {
    for (const tensor of tensors) {
      const own = found.get(tensor) ?? { absmax: 0, percentile: 0, mse: 0, entropy: 0 };
      for (const { bits, symmetric, method, range } of ranges) {
        if (bits === GRID.bits && symmetric) own[method] = Math.max(own[method], range.high);
      }
      found.set(tensor, own);
    }
  }
  return [...found].map(([tensor, ranges]) => ({ tensor, ...ranges }));
}

/**
 * Adds to the matrices of a plan the static scales of their inputs, for int8 codes around 0: F32 tensors as llama.cpp names
 * them, one number for each expert.
 *
 * @throws UsageError where the statistics are not of this model
 */
export function withInputScales(
  tensors: readonly PlannedTensor[],
  statistics: ActivationStatistics,
  method: RangeMethod,
): PlannedTensor[] {
  const ranges = staticRanges(statistics, GRID, method);
  const columns = new Map(
    statistics.groups.flatMap((group) => group.tensors.map((name) => [name, group.columns])),
  );
  return tensors.flatMap((tensor) => {
    if (isInputScale(tensor.name)) return []; // of the input: they belong to other statistics
    if (!LOADED.test(tensor.name)) return [tensor];
    const { name, shape } = tensor;
    if (columns.get(name) !== shape[0]) {
      throw new UsageError('the statistics are not of this model', {
        tensor: name,
        expected: `inputs of ${shape[0]} values`,
        got: columns.has(name) ? `inputs of ${columns.get(name)} values` : 'none',
        advice: 'make them from this model: quantize calibrate MODEL -o stats.json',
      });
    }
    const stacked = name.endsWith('_exps.weight');
    const experts = stacked ? Array.from({ length: shape[2] ?? 1 }, (_, expert) => expert) : [null];
    // An expert that saw no input has no range: 1 is what converters write where there is none.
    const scales = experts.map((expert) => ranges.get(inputKey(name, expert))?.scale ?? 1);
    return [
      { ...tensor, inputScale: { ...GRID, method, scales } },
      {
        name: name.replace(/\.weight$/, '.input_scale'),
        shape: [scales.length],
        type: 'F32',
        encoder: 'F32',
        source: { kind: 'values', values: scales },
        reason: `static scale of the inputs of ${name}`,
      },
    ];
  });
}
