import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { offeredSchemes, type Scheme, schemeName } from '../../scripts/golden/schemes.js';
import { planQuantization } from '../../src/pipeline.ts';
import { mixtures, uniformTypes } from '../../src/plan/mixtures.ts';
import { methods } from '../../src/plan/presets.ts';
import { readGguf } from '../../src/read/gguf.ts';
import { repository } from '../support/checkpoints.ts';
import { type Conversion, conversions, sotu } from '../support/conversions.ts';
import { sha256 } from '../support/golden.ts';

/**
 * Every output that this version can make of the bundled model, against hashes recorded where the real ggml had judged
 * the bytes: what a platform without the engine can check.
 */
interface Manifest {
  readonly model: Readonly<Record<string, string>>;
  readonly encoders: Readonly<Record<string, { readonly judge: string | null }>>;
  readonly files: Readonly<
    Record<string, { readonly options: Scheme; bytes: number; sha256: string; header: string }>
  >;
  /** First 16 digits by tensor and encoder. */
  readonly tensors: Readonly<Record<string, Readonly<Record<string, string>>>>;
}

const manifest = JSON.parse(
  readFileSync(join(repository, 'fixtures/golden/sotu-3m.json'), 'utf8'),
) as Manifest;
const convert = conversions(sotu);

/** In what a file first differs from the recorded one; null when it does not. */
function difference({ path, result }: Conversion, expected: Manifest['files'][string]): string | null {
  const bytes = readFileSync(path);
  if (sha256(bytes) === expected.sha256) return null;
  const { dataOffset, tensors } = readGguf(path);
  if (sha256(bytes.subarray(0, dataOffset)) !== expected.header) return 'the header differs';
  for (const [i, { name, offset, byteLength }] of tensors.entries()) {
    const { encoder } = result.plan.tensors[i];
    const hash = sha256(bytes.subarray(offset, offset + byteLength)).slice(0, 16);
    if (hash !== manifest.tensors[name]?.[encoder]) return `${name} as ${encoder} differs`;
  }
  return 'padding differs';
}

describe('fixtures/golden/sotu-3m.json', () => {
  it.each(Object.entries(manifest.files))('%s', async (_name, expected) => {
    // Two threads, so that every scheme is seen to be the same whoever takes which chunk.
    expect(difference(await convert({ ...expected.options, threads: 2 }), expected)).toBeNull();
  });

  it('covers all that is on offer (if not: npm run golden)', () => {
    const offered = offeredSchemes(
      { mixtures: { ...mixtures, ...uniformTypes }, methods, planQuantization },
      sotu,
    );
    expect(Object.keys(manifest.files)).toEqual(offered.map(schemeName));
  });

  it('is of this model', () => {
    for (const [path, hash] of Object.entries(manifest.model)) {
      expect(sha256(readFileSync(join(repository, path))), path).toBe(hash);
    }
  });

  it("was judged by the real ggml wherever the coding is ggml's", () => {
    for (const [encoder, { judge }] of Object.entries(manifest.encoders)) {
      expect(judge, encoder).toBe(encoder.includes(':') ? null : 'ggml_quantize_chunk');
    }
  });
});
