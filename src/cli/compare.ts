import {
  COMPARE_ARENA,
  comparePairs,
  type Matching,
  matchTensors,
  type NamedSource,
  sourcesOf,
} from '../compare-tensors.ts';
import type { Checkpoint } from '../core/checkpoint.ts';
import { addErrorSums, type ErrorSums, emptyErrorSums } from '../core/error-sums.ts';
import { listed, QuantizeError } from '../core/errors.ts';
import { storedType } from '../core/plan.ts';
import { chooseKernels, kernelsOf } from '../quantize/kernels.ts';
import { formatCount, formatError, printable } from '../report/format.ts';
import { metricsOf } from '../report/metrics.ts';
import { asJson, type ReportedMetrics } from '../report/report.ts';
import { sqnr } from '../report/summary.ts';
import { requireInput } from './files.ts';
import { hasColor, type Io, jsonText, styles, tableStyle } from './io.ts';

/** The two models share no tensor that could be compared. */
export class NothingInCommonError extends QuantizeError {}

/** What a comparison needs of the stages. */
export interface CompareStages {
  openCheckpoint(path: string): Checkpoint;
  /** A safetensors checkpoint's tensors under the names and in the order a GGUF has them. */
  asGguf(checkpoint: Checkpoint): readonly NamedSource[];
}

interface ComparedTensor {
  readonly name: string;
  readonly shape: readonly number[];
  /** Stored types. */
  readonly a: string;
  readonly b: string;
  readonly metrics: ReportedMetrics;
}

/** `quantize compare A B`: what B lost against A, tensor by tensor. */
export async function compareCommand(
  pathA: string,
  pathB: string,
  flags: { json?: boolean },
  io: Io,
  stages: CompareStages,
): Promise<void> {
  for (const path of [pathA, pathB]) requireInput(path);
  const [a, b] = [pathA, pathB].map(stages.openCheckpoint);
  const matching = match(a, b, stages);
  if (matching.pairs.length === 0) {
    const unlike = matching.unlike.map(({ name, reason }) => `${name}: ${reason}`);
    throw new NothingInCommonError('the two models have no tensor to compare', {
      expected: `names as in ${pathA}: ${matching.onlyA.slice(0, 3).join(', ')}, ...`,
      got: unlike.length > 0 ? unlike.slice(0, 3).join('; ') : matching.onlyB.slice(0, 3).join(', '),
      advice: 'compare a model with a conversion of itself',
    });
  }

  const tensors: ComparedTensor[] = [];
  const notFinite: string[] = [];
  const total = emptyErrorSums();
  const kernels = kernelsOf(chooseKernels('auto'), COMPARE_ARENA);
  for await (const { pair, sums } of comparePairs(matching.pairs, { a, b }, kernels, io.interruptible())) {
    if (!allFinite(sums)) {
      notFinite.push(pair.name);
      continue;
    }
    addErrorSums(total, sums);
    tensors.push({
      name: pair.name,
      shape: pair.a.shape,
      a: storedType(pair.a.source),
      b: storedType(pair.b.source),
      metrics: asJson(metricsOf(sums, pair.a.shape[0] ?? 1)),
    });
  }

  const unlike = [
    ...matching.unlike,
    ...notFinite.map((name) => ({ name, reason: 'NaN or infinity among the values' })),
  ];
  const { maxError, ...model } = asJson(metricsOf(total, 1));
  if (flags.json) {
    io.stdout.write(
      jsonText({
        schema: 'gguf-quantize/compare',
        version: 1,
        a: pathA,
        b: pathB,
        total: { weights: total.count, metrics: { ...model, maxError: maxError.value } },
        tensors,
        onlyA: matching.onlyA,
        onlyB: matching.onlyB,
        notCompared: unlike,
      }),
    );
    return;
  }
  const { renderComparison } = await import('../report/table.ts');
  io.stdout.write(
    `${renderComparison(tensors, tableStyle(io.stdout, io.env))}\n\n` +
      `${formatCount(total.count)} weights in ${tensors.length} tensors: relative error ` +
      `${formatError(model.relativeError)}, SQNR ${sqnr(model)}, RMSE ${formatError(model.rmse)}, ` +
      `at most ${formatError(maxError.value)}, cosine ${model.cosine.toFixed(5)}\n`,
  );
  const { yellow } = styles(hasColor(io.stderr, io.env));
  for (const [names, path] of [
    [matching.onlyA, pathA],
    [matching.onlyB, pathB],
  ] as const) {
    if (names.length === 0) continue;
    io.stderr.write(
      `${yellow('warning:')} only in ${path}: ${names.length} (${printable(listed(names, 3))})\n`,
    );
  }
  for (const { name, reason } of unlike) {
    io.stderr.write(`${yellow('warning:')} not compared: ${printable(name)}: ${reason}\n`);
  }
}

/**
 * Matches by the names in the files where both have one format, else by the names a GGUF has. Safetensors may have these
 * too (`quantize dequantize` keeps them): where no names match, one side is taken as the model that its config says.
 */
function match(a: Checkpoint, b: Checkpoint, { asGguf }: CompareStages): Matching {
  if (a.format === b.format) {
    const asStored = matchTensors(sourcesOf(a), sourcesOf(b));
    if (asStored.pairs.length > 0 || a.format === 'gguf') return asStored;
    const mapped = [
      () => matchTensors(asGguf(a), sourcesOf(b)),
      () => matchTensors(sourcesOf(a), asGguf(b)),
    ].map(unlessRefused);
    return mapped.find((matching) => matching !== null && matching.pairs.length > 0) ?? asStored;
  }
  const [inA, inB] = [a, b].map((model) => (model.format === 'gguf' ? sourcesOf(model) : asGguf(model)));
  return matchTensors(inA, inB);
}

/** Null where a checkpoint cannot be mapped: it is not the model that lies beside it, or none that is known. */
function unlessRefused<T>(attempt: () => T): T | null {
  try {
    return attempt();
  } catch (error) {
    if (error instanceof QuantizeError) return null;
    throw error;
  }
}

/** Whether every weight was: one NaN or infinity shows in a sum of squares. */
const allFinite = ({ sumX2, sumQ2 }: ErrorSums): boolean => Number.isFinite(sumX2) && Number.isFinite(sumQ2);
