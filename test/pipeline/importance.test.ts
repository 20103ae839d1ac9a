import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { dataTypes, type TypeName } from '../../src/core/types.ts';
import {
  planQuantization,
  type QuantizeOptions,
  quantize,
  UnsupportedTypeError,
} from '../../src/pipeline.ts';
import { NoFallbackError } from '../../src/plan/fallback.ts';
import { type MixtureName, mixtures } from '../../src/plan/mixtures.ts';
import { weightedEncoders } from '../../src/quantize/format/index.ts';
import { readImatrix } from '../../src/read/imatrix.ts';
import { buildReport } from '../../src/report/report.ts';
import { engineDirectory } from '../engine/ggml.ts';
import { type KeyOverride, quantizeModel } from '../engine/quantize.ts';
import { type CollectedEntry, imatrixBytes } from '../support/imatrix-writer.ts';
import { tinyMixtral } from '../support/mixtral.ts';
import { uniform } from '../support/random.ts';
import { put, temporaryDirectory } from '../support/temporary.ts';

/** Importance matrices: whole files against llama_model_quantize of the same model under the same matrix. */

const root = fileURLToPath(new URL('../..', import.meta.url));
const directory = temporaryDirectory();
const at = (name: string) => join(directory, name);

const models = { 'sotu-3m': join(root, 'fixtures/sotu-3m'), 'tiny mixtral': tinyMixtral(at('mixtral')) };
type ModelName = keyof typeof models;

/** Every type whose coding in ggml follows importance. */
const weighted: ReadonlySet<TypeName> = new Set(
  Object.values(dataTypes)
    .map(({ name }) => name)
    .filter((name) => /^(Q[45]_[01]|Q[2-6]_K|IQ\d_[A-Z]+)$/.test(name)),
);

/** Sums and counts for every matrix of a model, as if from a short text: a column in 16 is never used. */
function collect(model: string, leaveOut: (name: string) => boolean = () => false): CollectedEntry[] {
  const { plan } = planQuantization({ input: model, type: 'F32' });
  return plan.tensors
    .filter(({ name, shape }) => shape.length > 1 && !leaveOut(name))
    .map(({ name, shape: [width, , experts = 1] }, seed) => {
      const random = uniform(seed);
      const counts = Array.from({ length: experts }, () => 200 + Math.floor(1000 * random()));
      const sums = Float32Array.from({ length: width * experts }, () =>
        random() < 1 / 16 ? 0 : 2000 * random() ** 4,
      );
      return { name, sums, counts };
    });
}

/** The model as a BF16 file, which the engine takes. */
async function converted(model: ModelName): Promise<string> {
  const output = at(`${model}.gguf`);
  if (!existsSync(output)) await quantize({ input: models[model], output, type: 'BF16', threads: 2 });
  return output;
}

/** What llama-quantize makes of a model and a matrix: by its own rules, but with values and keys from our reader. */
async function engine(model: ModelName, name: MixtureName, imatrix: string): Promise<Buffer> {
  const { entries, datasets, chunks } = readImatrix(imatrix);
  const overrides: KeyOverride[] = [
    { key: 'quantize.imatrix.file', kind: 'str', value: imatrix.slice(0, 127) },
    ...datasets
      .slice(0, 1)
      .map((value) => ({ key: 'quantize.imatrix.dataset', kind: 'str' as const, value })),
    { key: 'quantize.imatrix.entries_count', kind: 'int', value: entries.size },
    ...(chunks > 0 ? [{ key: 'quantize.imatrix.chunks_count', kind: 'int' as const, value: chunks }] : []),
  ];
  const importance = Object.fromEntries([...entries].map(([key, { values }]) => [key, values]));
  const output = at('theirs.gguf');
  quantizeModel(await converted(model), output, {
    ftype: mixtures[name].fileType!,
    threads: 2,
    importance,
    overrides,
  });
  return take(output);
}

async function ours(model: ModelName, options: Partial<QuantizeOptions>) {
  const output = at('ours.gguf');
  const result = await quantize({ input: models[model], output, threads: 2, ...options });
  const { run: _run, ...report } = buildReport(result);
  return { file: take(output), report };
}

function take(path: string): Buffer {
  const bytes = readFileSync(path);
  rmSync(path);
  return bytes;
}

/** All that llama-quantize makes of weights, embeddings left out as llama-imatrix does. */
const matrices = Object.fromEntries(
  Object.entries(models).map(([model, path]) => {
    const entries = collect(path, (name) => name === 'token_embd.weight' || name === 'output.weight');
    return [model, put(directory, `${model} imatrix.gguf`, imatrixBytes(entries))];
  }),
) as Readonly<Record<ModelName, string>>;

/** Whether this version can write the mixture as llama-quantize would. */
function written(model: ModelName, type: MixtureName): boolean {
  try {
    const { tensors } = planQuantization({ input: models[model], type, imatrix: matrices[model] }).plan;
    return tensors.every((tensor) => !weighted.has(tensor.type) || tensor.type in weightedEncoders);
  } catch (error) {
    if (error instanceof UnsupportedTypeError || error instanceof NoFallbackError) return false;
    throw error;
  }
}

describe.skipIf(engineDirectory === null)('whole files equal llama-quantize', () => {
  for (const model of Object.keys(models) as ModelName[]) {
    for (const name of Object.keys(mixtures) as MixtureName[]) {
      if (dataTypes[mixtures[name].base].kind === 'float') continue;
      it.skipIf(!written(model, name))(`${model}: ${name}`, async () => {
        const { file, report } = await ours(model, { type: name, imatrix: matrices[model] });
        expect(file.equals(await engine(model, name, matrices[model]))).toBe(true);
        const { entries } = readImatrix(matrices[model]);
        const used = report.tensors.filter(({ importance }) => importance);
        const useful = report.tensors.filter(({ name, type }) => weighted.has(type) && entries.has(name));
        expect(used).toEqual(useful);
        expect(report.model.importanceTensors).toBe(used.length);
      });
    }
  }
});
