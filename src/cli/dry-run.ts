import type { Plan, PlannedTensor } from '../core/plan.ts';
import { bitsPerWeight, bytesOf, elementsOf } from '../core/types.ts';
import { formatBytes, formatCount } from '../report/format.ts';
import { fallbackOf, holdsWeights } from '../report/report.ts';
import { renderFallbacks } from '../report/summary.ts';
import type { Layout } from '../write/gguf.ts';
import { type Io, jsonText, tableStyle } from './io.ts';
import { abbreviate } from './metadata.ts';
import { describeParts } from './progress.ts';

/** Shows what a run would do: a table, or JSON, on standard output. */
export async function showPlan(plan: Plan, layout: Layout, json: boolean, io: Io): Promise<void> {
  if (json) {
    io.stdout.write(jsonText(planAsJson(plan, layout)));
    return;
  }
  const { renderPlan } = await import('../report/table.ts');
  const made = tensorsOf(plan, layout);
  const tensors = made.map((tensor) => ({
    ...tensor,
    bytes: tensorBytes(tensor),
    reason:
      tensor.fallbackFrom === undefined ? tensor.reason : `not ${tensor.fallbackFrom}: ${tensor.reason}`,
  }));
  const weights = made.filter(holdsWeights).reduce((total, { shape }) => total + elementsOf(shape), 0);
  const bytes = tensors.reduce((total, tensor) => total + tensor.bytes, 0);
  const important = made.filter(({ importance }) => importance !== undefined).length;
  const calibrated = made.filter((tensor) => tensor.calibrated !== undefined).length;
  const lines = [
    renderPlan(tensors, tableStyle(io.stdout, io.env)),
    '',
    `${plan.fileType} by ${plan.method}: ${formatCount(weights)} weights in ${tensors.length} tensors, ` +
      (important > 0 ? `${important} under importance, ` : '') +
      (calibrated > 0 ? `${calibrated} to calibrate, ` : '') +
      `${((bytes * 8) / weights).toFixed(2)} bits per weight, ` +
      (layout.split === null ? 'file' : `${describeParts(layout.split, layout.files.length)},`) +
      ` ${formatBytes(layout.fileBytes)}`,
    ...renderFallbacks(made.flatMap(fallbackOf)),
    'nothing was written (--dry-run)',
  ];
  io.stdout.write(`${lines.join('\n')}\n`);
}

/** The plan as `--dry-run --json` prints it. */
const planAsJson = (plan: Plan, layout: Layout) => ({
  schema: 'gguf-quantize/plan',
  version: 1,
  architecture: plan.architecture,
  fileType: plan.fileType,
  method: plan.method,
  runnable: plan.runnable.yes,
  notRunnableReason: plan.runnable.yes ? null : plan.runnable.reason,
  fileBytes: layout.fileBytes,
  split: layout.split && {
    count: layout.split.count,
    parts: layout.files.map(({ first, end, fileBytes }, i) => ({
      number: layout.split!.first + i + 1,
      tensors: end - first,
      fileBytes,
    })),
  },
  calibration: plan.calibration,
  metadata: plan.metadata.map(abbreviate),
  tensors: tensorsOf(plan, layout).map((tensor) => ({
    name: tensor.name,
    type: tensor.type,
    encoder: tensor.encoder,
    importance: tensor.importance !== undefined,
    calibrated: tensor.calibrated ?? null,
    shape: tensor.shape,
    bitsPerWeight: bitsPerWeight(tensor.type),
    bytes: tensorBytes(tensor),
    sources: tensor.source.kind === 'stored' ? tensor.source.parts.map(({ name }) => name) : [],
    rowOrder: tensor.source.kind === 'stored' ? tensor.source.rows.kind : null,
    reason: tensor.reason,
    fallbackFrom: tensor.fallbackFrom ?? null,
  })),
  fallbacks: tensorsOf(plan, layout).flatMap(fallbackOf),
  notes: plan.notes,
  warnings: plan.warnings,
});

/** Tensors of the files that the run makes. */
const tensorsOf = ({ tensors }: Plan, { files }: Layout): readonly PlannedTensor[] =>
  tensors.slice(files[0].first, files[files.length - 1].end);

const tensorBytes = ({ type, shape }: PlannedTensor): number => bytesOf(type, elementsOf(shape));
