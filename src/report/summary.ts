import { formatSignedBytes } from '../core/units.ts';
import { renderCalibration } from './calibration.ts';
import { renderEvaluation } from './evaluation.ts';
import { formatBytes, formatCount, formatDb, formatError, printable } from './format.ts';
import { renderRanges } from './ranges.ts';
import type { Report, ReportedFallback } from './report.ts';

/** The whole model in a few lines: size, error, and every fallback with its cost. */
export function renderSummary({ model, fallbacks, tensors }: Report): string {
  const { metrics } = model;
  const { tensor, row, column } = metrics.maxError;
  return [
    `${model.fileType} by ${model.method}: ${formatCount(model.weights)} weights in ${model.tensors} tensors, ` +
      `${model.quantizedTensors} quantized` +
      (model.importanceTensors > 0 ? `, ${model.importanceTensors} under importance` : ''),
    `size   ${formatBytes(model.bytesBefore)} -> ${formatBytes(model.bytesAfter)}, ` +
      `${model.compressionRatio.toFixed(2)} times smaller, ${model.bitsPerWeight.toFixed(2)} bits per weight`,
    `error  relative ${formatError(metrics.relativeError)}, SQNR ${sqnr(metrics)}, ` +
      `RMSE ${formatError(metrics.rmse)}, cosine ${metrics.cosine.toFixed(5)}`,
    `       at most ${formatError(metrics.maxError.value)} (${printable(tensor)}, ` +
      `row ${row}, column ${column})`,
    ...(model.ranges ? renderRanges(model.ranges, tensors) : []),
    ...(model.calibration ? renderCalibration(model.calibration, model.outputErrors) : []),
    ...(model.evaluation ? renderEvaluation(model.evaluation) : []),
    ...renderFallbacks(fallbacks),
  ].join('\n');
}

/** "23.7 dB", "exact". */
export const sqnr = (metrics: { sqnrDb: number | null; mse: number }): string =>
  metrics.mse === 0 ? 'exact' : `${formatDb(metrics)} dB`;

/** Two lines for each pair of wanted and used type: cost, and cause. */
export function renderFallbacks(fallbacks: readonly ReportedFallback[]): string[] {
  const groups = new Map<string, ReportedFallback[]>();
  for (const fallback of fallbacks) {
    const types = `${fallback.from} -> ${fallback.to}`;
    groups.set(types, [...(groups.get(types) ?? []), fallback]);
  }
  return [...groups].flatMap(([types, group]) => {
    const [{ from, tensor, extraBitsPerWeight }] = group;
    const bytes = group.reduce((total, { extraBytes }) => total + extraBytes, 0);
    return [
      `fallback ${types} in ${group.length} tensor${group.length === 1 ? '' : 's'}: ` +
        `${extraBitsPerWeight < 0 ? '' : '+'}${extraBitsPerWeight.toFixed(2)} bits per weight, ` +
        formatSignedBytes(bytes),
      `       rows do not divide into blocks of ${from}, as in ${printable(tensor)}`,
    ];
  });
}
