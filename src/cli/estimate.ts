import type { Checkpoint } from '../core/checkpoint.ts';
import { elementsOf } from '../core/types.ts';
import { describeUnquantized, estimateSizes, type Size, type SizedModel } from '../plan/estimate.ts';
import { canWrite } from '../quantize/supported.ts';
import { openCheckpoint } from '../read/checkpoint.ts';
import { readModelFiles } from '../read/model-files.ts';
import { formatBytes, formatCount } from '../report/format.ts';
import { renderTable } from '../report/table.ts';
import { DEFAULT_ALIGNMENT, layOutFile } from '../write/gguf.ts';
import { requireInput } from './files.ts';
import { type Io, jsonText, tableStyle } from './io.ts';

/** A checkpoint with the header that its GGUF would have. */
export function sizedModel(checkpoint: Checkpoint): SizedModel {
  const files = checkpoint.format === 'gguf' ? null : readModelFiles(checkpoint.directory);
  const { metadata, tensors, hyperparameters } = describeUnquantized(checkpoint, files);
  const kept = tensors.map(({ name, shape, keep }) => ({ name, shape, type: keep }));
  return {
    headerBytes: layOutFile(metadata, kept).header.length,
    alignment: Number(metadata.find(({ key }) => key === 'general.alignment')?.value ?? DEFAULT_ALIGNMENT),
    tensors,
    hyperparameters,
  };
}

/** `quantize estimate FILE`: sizes on standard output. */
export function estimateCommand(path: string, flags: { json?: boolean }, io: Io): void {
  requireInput(path);
  const checkpoint = openCheckpoint(path);
  const model = sizedModel(checkpoint);
  const estimates = estimateSizes(model, canWrite);
  const weights = model.tensors.reduce((total, { shape }) => total + elementsOf(shape), 0);
  if (flags.json) {
    const inputBytes = checkpoint.files.reduce((total, { size }) => total + size, 0);
    io.stdout.write(
      jsonText({ schema: 'gguf-quantize/estimate', version: 1, weights, inputBytes, estimates }),
    );
    return;
  }
  const cells = (size: Size | null) =>
    size === null ? ['', ''] : [size.bitsPerWeight.toFixed(2), formatBytes(size.fileBytes)];
  const table = renderTable(
    [
      { head: 'type' },
      { head: 'bits', align: 'right' },
      { head: 'file', align: 'right' },
      { head: 'bytes', align: 'right', drop: 1 },
      { head: '--pure', align: 'right', drop: 3 },
      { head: 'file', align: 'right', drop: 2 },
      { head: 'note', cut: 'late' },
    ],
    estimates.map(({ name, size, pure, notes }) => [
      name,
      ...cells(size),
      size === null ? '' : String(size.fileBytes),
      ...cells(pure),
      notes.join('; '),
    ]),
    tableStyle(io.stdout, io.env),
  );
  io.stdout.write(`${table}\n\n${formatCount(weights)} weights in ${model.tensors.length} tensors\n`);
}
