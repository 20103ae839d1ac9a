#!/usr/bin/env node
// Writes fixtures/golden/sotu-3m.json: hashes of every output that this version can make of the bundled model, so that
// platforms without the real ggml can still check bytes. Usage: node scripts/make-golden.js (after npm run build)
//
// Before anything is recorded, the bytes of every tensor coded ggml's way are compared with what ggml_quantize_chunk of
// llama.cpp v0.5.0 makes of the same rows; the first difference ends the script and leaves the manifest as it was.
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { dataTypes } from '../dist/core/types.js';
import { planQuantization, quantize } from '../dist/pipeline.js';
import { mixtures, uniformTypes } from '../dist/plan/mixtures.js';
import { methods } from '../dist/plan/presets.js';
import { readGguf } from '../dist/read/gguf.js';
import { engineDirectory, loadLibrary } from '../test/engine/library.js';
import { offeredSchemes, schemeName } from './golden/schemes.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const model = 'fixtures/sotu-3m';
const input = join(root, model);
const manifest = join(root, 'fixtures/golden/sotu-3m.json');

if (engineDirectory === null) {
  console.error('the real ggml is not installed here (Linux x64 only): nothing could be verified');
  process.exit(1);
}
const { quantizeChunk } = loadLibrary();
const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');
const directory = mkdtempSync(join(tmpdir(), 'make-golden-'));

/** Runs the pipeline and takes its file apart. */
async function output(scheme) {
  const path = join(directory, 'out.gguf');
  const { plan } = await quantize({ input, output: path, force: true, threads: 2, ...scheme });
  const bytes = readFileSync(path);
  const { tensors, dataOffset } = readGguf(path);
  return {
    bytes,
    header: bytes.subarray(0, dataOffset),
    tensors: tensors.map(({ name, shape, type, offset, byteLength }, i) => ({
      name,
      rowLength: shape.at(-1),
      type,
      encoder: plan.tensors[i].encoder,
      data: bytes.subarray(offset, offset + byteLength),
    })),
  };
}

/** The weights of every tensor as float32, as the F32 file has them. */
const rows = new Map();
for (const { name, data } of (await output({ type: 'F32' })).tensors) {
  rows.set(name, new Float32Array(Uint8Array.from(data).buffer));
}

/** Ends the script unless ggml codes the same rows to the same bytes. */
function verify({ name, type, rowLength, data }, scheme) {
  const x = rows.get(name);
  const blocks = new Uint8Array(data.length);
  quantizeChunk(dataTypes[type].ggmlId, x, blocks, x.length / rowLength, rowLength, null);
  if (Buffer.compare(blocks, data) === 0) return;
  const at = blocks.findIndex((byte, i) => byte !== data[i]);
  console.error(`${schemeName(scheme)}: ${name} as ${type} is not what ggml makes of it, from byte ${at} on`);
  process.exit(1);
}

const encoders = {};
const files = {};
const tensorHashes = {};
for (const scheme of offeredSchemes(
  { mixtures: { ...mixtures, ...uniformTypes }, methods, planQuantization },
  input,
)) {
  const { bytes, header, tensors } = await output(scheme);
  for (const tensor of tensors) {
    const { name, encoder, data } = tensor;
    tensorHashes[name] ??= {};
    const hash = sha256(data).slice(0, 16);
    const known = tensorHashes[name][encoder];
    if (known !== undefined && known !== hash) throw new Error(`${name} as ${encoder} has two codings`);
    if (known !== undefined) continue;
    tensorHashes[name][encoder] = hash;
    if (!rows.has(name)) continue; // scales and zero points, which are no rows of the model
    // Only encoders named after their type are ggml's; the others are held to their definition by test/quantize.
    const judged = encoder === tensor.type;
    if (judged) verify(tensor, scheme);
    encoders[encoder] ??= { judge: judged ? 'ggml_quantize_chunk' : null, tensors: 0, bytes: 0 };
    encoders[encoder].tensors++;
    encoders[encoder].bytes += data.length;
  }
  files[schemeName(scheme)] = {
    options: scheme,
    bytes: bytes.length,
    sha256: sha256(bytes),
    header: sha256(header),
  };
  console.log(`${schemeName(scheme)}: ${bytes.length} bytes`);
}
rmSync(directory, { recursive: true });

const engineManifest = JSON.parse(readFileSync(join(engineDirectory, '../../package.json'), 'utf8'));
const contents = {
  about:
    'Made by scripts/make-golden.js, which explains it. files: each output whole, and its header. tensors: the first ' +
    '16 digits of the SHA-256 of their data, by encoder. encoders: who judged them, and how much.',
  model: Object.fromEntries(
    readdirSync(input)
      .sort()
      .map((file) => [`${model}/${file}`, sha256(readFileSync(join(input, file)))]),
  ),
  engine: {
    llamaCpp: 'v0.5.0',
    package: `${engineManifest.name}@${engineManifest.version}`,
    'libggml-base.so': sha256(readFileSync(join(engineDirectory, 'libggml-base.so'))),
  },
  encoders,
  files,
  tensors: tensorHashes,
};
writeFileSync(manifest, `${JSON.stringify(contents, null, 1)}\n`);
console.log(`wrote ${manifest}`);
