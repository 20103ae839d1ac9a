#!/usr/bin/env node
// The same job with the real ggml in place of our kernels, and no error report: read the stored rows, convert them
// with the type's to_float, encode them with ggml_quantize_chunk, write them at their offset. Same plan, same
// chunks, same threads. Usage: node bench/baseline.js MODEL TYPE OUTPUT THREADS
import { closeSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import { segmentsOf } from '../dist/core/segments.js';
import { bytesOf, dataTypes, elementsOf } from '../dist/core/types.js';
import { loadLibrary } from '../test/engine/library.js';

const CHUNK = 1 << 20;

if (isMainThread) {
  const { planQuantization } = await import('../dist/pipeline.js');
  const [input, type, output, threads] = process.argv.slice(2);
  const { plan, layout } = planQuantization({ input, type });
  const [{ header, offsets, fileBytes }] = layout.files;
  const descriptor = openSync(output, 'w');
  ftruncateSync(descriptor, fileBytes);
  writeSync(descriptor, header, 0, header.length, 0);
  closeSync(descriptor);
  const next = new Int32Array(new SharedArrayBuffer(4));
  const tensors = plan.tensors.map(({ shape, type, source }, i) => ({
    elements: elementsOf(shape),
    type,
    source,
    offset: offsets[i],
  }));
  const workers = Array.from(
    { length: Number(threads) },
    () =>
      new Worker(fileURLToPath(import.meta.url), {
        workerData: { tensors, files: plan.checkpoint.files, output, next },
      }),
  );
  await Promise.all(workers.map((worker) => new Promise((resolve) => worker.on('exit', resolve))));
} else {
  const { quantizeChunk, toFloat } = loadLibrary();
  const { tensors, files, output, next } = workerData;
  const decoders = new Map();
  const decode = (type) => {
    if (!decoders.has(type)) decoders.set(type, toFloat(dataTypes[type].ggmlId));
    return decoders.get(type);
  };
  const chunks = tensors.flatMap((tensor) =>
    Array.from({ length: Math.ceil(tensor.elements / CHUNK) }, (_, i) => ({ tensor, start: i * CHUNK })),
  );
  const inputs = files.map(({ path }) => openSync(path, 'r'));
  const target = openSync(output, 'r+');
  const floats = new Float32Array(CHUNK);
  const encoded = new Uint8Array(4 * CHUNK);
  const stored = new Uint8Array(8 * CHUNK);
  for (let i = Atomics.add(next, 0, 1); i < chunks.length; i = Atomics.add(next, 0, 1)) {
    const { tensor, start } = chunks[i];
    const count = Math.min(CHUNK, tensor.elements - start);
    if (tensor.source.kind === 'values') floats.set(tensor.source.values);
    else {
      let at = 0;
      for (const { file, offset, byteLength } of segmentsOf(tensor.source, start, count)) {
        const read = readSync(inputs[file], stored, at, byteLength, offset);
        if (read !== byteLength) throw new Error('short read');
        at += read;
      }
      const storedType = tensor.source.parts[0].type;
      if (storedType === 'F32') floats.set(new Float32Array(stored.buffer, 0, count));
      else decode(storedType)(stored, floats, count);
    }
    const bytes = bytesOf(tensor.type, count);
    quantizeChunk(dataTypes[tensor.type].ggmlId, floats, encoded, 1, count, null);
    writeSync(target, encoded, 0, bytes, tensor.offset + bytesOf(tensor.type, start));
  }
}
