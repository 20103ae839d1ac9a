import type { ActivationGroup, ActivationSource } from '../../src/core/activations.ts';
import type { EvaluatedModel, Evaluation, LayerError } from '../../src/core/evaluation.ts';
import type { Histogram } from '../../src/core/histogram.ts';
import type { Plan, PlannedTensor } from '../../src/core/plan.ts';
import type { RunResult } from '../../src/core/result.ts';
import { elementsOf } from '../../src/core/types.ts';
import { buildReport, type Report } from '../../src/report/report.ts';
import { uniform } from './random.ts';
import {
  calibrated,
  calibrationFacts,
  evaluation,
  plan,
  planned,
  rangedSums,
  result,
  sums,
} from './results.ts';

/** A histogram of bell form: 2 * `half` bins over -1 .. 1. */
export function bell(weights: number, half = 100, seed = 1): Histogram {
  const next = uniform(seed);
  const counts = () =>
    Array.from({ length: 2 * half }, (_, i) =>
      Math.round(((weights / half) * Math.exp(-8 * ((i - half) / half) ** 2) * (0.5 + next())) / 1.3),
    );
  return {
    binWidth: 1 / half,
    first: -half,
    counted: weights,
    before: { min: -1.25, max: 1.5, below: 2, above: 7, counts: counts() },
    after: { min: -0.9, max: 0.95, below: 0, above: 0, counts: counts() },
    group: { start: 64, weights: 32, values: [-0.75, -0.5, 0, 0.25, 0.5, 2] },
  };
}

const kinds = [
  'attn_q',
  'attn_k',
  'attn_v',
  'attn_output',
  'ffn_gate',
  'ffn_up',
  'ffn_down',
  'ssm_in',
  'ssm_out',
];

/** Report of a model of `layers` layers of nine quantized tensors and a norm, with everything a report can have. */
export function wholeReport(layers: number, over: Partial<RunResult> = {}): Report {
  const tensors: PlannedTensor[] = [
    planned({ name: 'token_embd.weight', shape: [4096, 32_000], type: 'Q6_K', encoder: 'Q6_K' }),
  ];
  for (let layer = 0; layer < layers; layer++) {
    kinds.forEach((kind, i) => {
      const type = i % 4 === 2 ? 'Q6_K' : i === 5 ? 'Q5_0' : 'Q4_K';
      const name = `blk.${layer}.${kind}.weight`;
      const fallback = i === 5 ? { fallbackFrom: 'Q4_K' as const } : {};
      tensors.push(planned({ name, shape: [4096, 4096], type, encoder: type, ...fallback }));
    });
    tensors.push(
      planned({ name: `blk.${layer}.attn_norm.weight`, shape: [4096], type: 'F32', encoder: 'F32' }),
    );
  }
  const made = result(
    tensors.map((tensor, i) => [
      tensor,
      sums(elementsOf(tensor.shape), tensor.type === 'F32' ? 0 : 0.02 + 0.001 * (i % 17), i),
    ]),
  );
  return buildReport(
    {
      ...made,
      plan: plan({
        tensors,
        method: 'gptq',
        notes: ['Q4_K_M was chosen.'],
        warnings: ['a tensor was left out: <x>'],
      }),
      tensors: made.tensors.map((tensor, i) =>
        tensor.tensor.type === 'F32'
          ? tensor
          : { ...tensor, calibration: calibrated(), histogram: bell(tensor.sums.count, 100, i) },
      ),
      calibration: calibrationFacts(),
      evaluation: evaluation({
        weightBits: 4.5,
        activations: [{ ...evaluation(), scheme: 'static:8:mse', bits: 8 }],
        activationsFrom,
      }),
      activations: [
        { tensor: 'blk.0.attn_q.weight', absmax: 12.5, percentile: 7.25, mse: 6.125, entropy: 5.0625 },
      ],
      activationsFrom,
      ...over,
    },
    ['my model', '--method', 'gptq', '--report', "it's.html"],
  );
}

/** Report of a run that chose the ranges of all matrices of its layers, and left the embedding to ggml's coding. */
export function rangedReport(layers: number): Report {
  const names = Array.from({ length: layers }, (_, layer) =>
    kinds.map((kind) => `blk.${layer}.${kind}.weight`),
  );
  const range: PlannedTensor['range'] = {
    rule: { kind: 'percentile', percent: 99.9 },
    granularity: 'channel',
    symmetry: 'full',
    center: false,
  };
  const embedding = planned({ name: 'token_embd.weight', shape: [4096, 1000], type: 'Q6_K' });
  const tensors = names
    .flat()
    .map((name) => planned({ name, shape: [4096, 4096], type: 'Q8_0', encoder: 'Q8_0:range', range }));
  const made = result([
    [embedding, sums(4_096_000, 0.01)],
    ...tensors.map((tensor) => [tensor, rangedSums(4096 ** 2)] as [PlannedTensor, ReturnType<typeof sums>]),
  ]);
  return buildReport({
    ...made,
    plan: plan({ tensors: [embedding, ...tensors], fileType: 'Q8_0', method: 'absmax' }),
    tensors: made.tensors.map((each, i) => ({ ...each, histogram: bell(each.sums.count, 100, i) })),
  });
}

/** Where static ranges are from. */
export const activationsFrom: ActivationSource = {
  corpus: {
    ...{ corpus: 'notes/', files: [{ path: 'notes/a.txt', bytes: 9 }], tokens: 2048, windows: 8 },
    ...{ context: 256, sha256: 'ab12', seed: 0 },
  },
  percentile: 99.99,
};

/** Ranges of 8-bit codes by the rule mse for the inputs of every matrix of a dense model, output not tied; in file order. */
export const statisticsOf = ({ tensors }: Plan): ActivationGroup[] =>
  tensors
    .filter(({ name, shape }) => shape.length > 1 && name !== 'token_embd.weight')
    .map(({ name, shape }) => ({
      ...{ tensors: [name], expert: null, columns: shape[0], inputs: 9, min: -4, max: 4 },
      ranges: [
        {
          ...{ bits: 8, symmetric: true, method: 'mse' },
          range: { low: -4, high: 4, scale: 4 / 127, zeroPoint: 0, relativeError: 0 },
        },
      ],
    }));

/** An evaluation as of `quantize eval --layers`: each scheme worse than the one before, one matrix without inputs. */
export function evaluatedModel(
  input: string,
  layers: number,
  schemes: readonly string[],
  over: Partial<Evaluation> = {},
): EvaluatedModel {
  const base = evaluation().base!;
  const matrix = (tensor: string, layer: number | null, of: number): LayerError => ({
    ...{ tensor, layer, expert: null, type: 'Q8_0', rows: 4096, columns: 4096, inputs: 2048 },
    weightsOnly: 1e-5 * of,
    activations: schemes.map((scheme, i) => ({ scheme, error: 1e-5 * of * 10 ** (i + 1) })),
  });
  const unseen = {
    inputs: 0,
    weightsOnly: null,
    activations: schemes.map((scheme) => ({ scheme, error: null })),
  };
  return {
    ...{ schema: 'gguf-quantize/eval', version: 1 },
    evaluation: evaluation({
      weightBits: 8.5,
      activations: schemes.map((scheme, i) => ({
        ...{ scheme, bits: 8, perplexity: 12.5 + i, standardError: 0.3 },
        base: { ...base, divergence: { ...base.divergence, mean: 0.028 * (i + 1) } },
      })),
      activationsFrom,
      layers: [
        ...Array.from({ length: layers }, (_, layer) =>
          kinds.map((kind, i) => matrix(`blk.${layer}.${kind}.weight`, layer, i + 1)),
        ).flat(),
        { ...matrix('blk.0.ffn_up_exps.weight', 0, 1), expert: 3, ...unseen },
        matrix('output.weight', null, 1),
      ],
      ...over,
    }),
    run: { input, base: 'models/base', seconds: 12.5, gemm: 'wasm', withoutBlas: 'none is installed' },
  };
}
