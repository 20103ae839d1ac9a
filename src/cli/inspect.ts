import type { Checkpoint } from '../core/checkpoint.ts';
import { bitsPerWeight, elementsOf } from '../core/types.ts';
import { formatBytes, formatCount, formatShape, printable } from '../report/format.ts';
import { requireInput } from './files.ts';
import { type Io, jsonText, tableStyle } from './io.ts';
import { abbreviate, describeValue } from './metadata.ts';

/** `quantize inspect FILE`: what the headers say, on standard output; shapes in the order of the file's own format. */
export async function inspectCommand(
  path: string,
  flags: { json?: boolean },
  io: Io,
  openCheckpoint: (path: string) => Checkpoint,
): Promise<void> {
  requireInput(path);
  const checkpoint = openCheckpoint(path);
  const facts = inspect(checkpoint);
  if (flags.json) {
    io.stdout.write(jsonText(facts));
    return;
  }
  const { renderTable, tensorColumn } = await import('../report/table.ts');
  const style = tableStyle(io.stdout, io.env);
  const sections: string[] = [];
  if (facts.files.length > 1) {
    sections.push(
      renderTable(
        [
          { head: 'file', cut: 'late' },
          { head: 'size', align: 'right' },
        ],
        facts.files.map((file) => [file.path, formatBytes(file.size)]),
        style,
      ),
    );
  }
  if (checkpoint.metadata.length > 0) {
    const keyWidth = Math.max(...checkpoint.metadata.map(({ key }) => key.length));
    sections.push(
      renderTable(
        [{ head: 'key', cut: 'late' }, { head: 'type' }, { head: 'value', cut: 'early' }],
        checkpoint.metadata.map((entry) => [
          entry.key,
          entry.type === 'ARRAY' ? `${entry.elementType}[]` : entry.type,
          describeValue(entry, Math.max(20, Math.min(100, style.width) - keyWidth - 13)),
        ]),
        style,
      ),
    );
  }
  sections.push(
    renderTable(
      [
        tensorColumn,
        { head: 'type' },
        { head: 'shape' },
        { head: 'bits', align: 'right', drop: 1 },
        { head: 'size', align: 'right', drop: 2 },
      ],
      facts.tensors.map((tensor) => [
        tensor.name,
        tensor.type,
        formatShape(tensor.shape),
        tensor.bitsPerWeight.toFixed(2),
        formatBytes(tensor.bytes),
      ]),
      style,
    ),
  );
  const { total } = facts;
  const types = Object.entries(total.types).map(([type, count]) => `${type} ${count}`);
  sections.push(
    `${printable(path)}: ${facts.format}, ${formatCount(total.weights)} weights in ${facts.tensors.length} tensors ` +
      `(${types.join(', ')})\n${formatBytes(total.bytes)} of tensors, ` +
      `${total.bitsPerWeight.toFixed(2)} bits per weight, ${formatBytes(total.fileBytes)} on disk`,
  );
  io.stdout.write(`${sections.join('\n\n')}\n`);
}

/** What the headers say, as `--json` prints it. */
function inspect(checkpoint: Checkpoint) {
  const tensors = [...checkpoint.tensors.values()].map((tensor) => ({
    name: tensor.name,
    type: tensor.type,
    shape: checkpoint.format === 'gguf' ? [...tensor.shape].reverse() : tensor.shape,
    bitsPerWeight: bitsPerWeight(tensor.type),
    bytes: tensor.byteLength,
    file: tensor.file,
    offset: tensor.offset,
  }));
  const weights = tensors.reduce((total, { shape }) => total + elementsOf(shape), 0);
  const bytes = tensors.reduce((total, tensor) => total + tensor.bytes, 0);
  const types: Record<string, number> = {};
  for (const { type } of tensors) types[type] = (types[type] ?? 0) + 1;
  return {
    schema: 'gguf-quantize/inspect',
    version: 1,
    format: checkpoint.format,
    files: checkpoint.files,
    metadata: checkpoint.metadata.map(abbreviate),
    tensors,
    total: {
      weights,
      bytes,
      fileBytes: checkpoint.files.reduce((total, { size }) => total + size, 0),
      bitsPerWeight: weights === 0 ? 0 : (bytes * 8) / weights,
      types,
    },
  };
}
