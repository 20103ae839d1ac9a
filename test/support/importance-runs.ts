import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { CollectedImportance } from '../../src/core/calibration.ts';
import { SUM_RANGE } from '../../src/core/error-sums.ts';
import { dataTypes, type TypeName } from '../../src/core/types.ts';
import { planQuantization, type QuantizeOptions, quantize } from '../../src/pipeline.ts';
import { NoFallbackError } from '../../src/plan/fallback.ts';
import { type MixtureName, mixtures } from '../../src/plan/mixtures.ts';
import { weightedEncoders } from '../../src/quantize/format/index.ts';
import { UnsupportedTypeError } from '../../src/quantize/supported.ts';
import { readImatrix } from '../../src/read/imatrix.ts';
import { buildReport } from '../../src/report/report.ts';
import { type KeyOverride, quantizeModel } from '../engine/quantize.ts';
import { sotu } from './conversions.ts';
import { imatrixBytes } from './imatrix-writer.ts';
import { tinyMixtral } from './mixtral.ts';
import { uniform } from './random.ts';
import { put, temporaryDirectory } from './temporary.ts';

/** Models, importance matrices made up for them, and whole files of both tools under these. */

export const directory = temporaryDirectory();
export const at = (name: string): string => join(directory, name);

export const models = { 'sotu-3m': sotu, 'tiny mixtral': tinyMixtral(at('mixtral')) };
export type ModelName = keyof typeof models;

/** Mixtures that quantize. */
export const quantizing = (Object.keys(mixtures) as MixtureName[]).filter(
  (name) => dataTypes[mixtures[name].base].kind === 'quantized',
);

/** Every type whose coding in ggml follows importance. */
const weighted: ReadonlySet<TypeName> = new Set(
  Object.values(dataTypes)
    .map(({ name }) => name)
    .filter((name) => /^(Q[45]_[01]|Q[2-6]_K|IQ\d_[A-Z]+)$/.test(name)),
);

/** Sums and counts for every matrix of a model, as if from a short text: a column in 16 is never used. */
export function collect(
  model: string,
  leaveOut: (name: string) => boolean = () => false,
): CollectedImportance[] {
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

/** The model as a GGUF, which the engine takes. */
export async function converted(model: ModelName, type = 'BF16'): Promise<string> {
  const output = at(`${model} ${type}.gguf`);
  if (!existsSync(output)) await quantize({ input: models[model], output, type, threads: 1 });
  return output;
}

type Entries = Readonly<Record<string, Float32Array>>;

export const valuesIn = (imatrix: string): Entries =>
  Object.fromEntries([...readImatrix(imatrix).entries].map(([name, { values }]) => [name, values]));

interface EngineChanges {
  readonly input?: string;
  readonly keys?: readonly KeyOverride[];
  readonly pruneLayers?: readonly number[];
  readonly allowRequantize?: boolean;
}

/** What llama-quantize makes of a model under importances; keys as it takes them from the matrix's file. */
export async function engine(
  model: ModelName,
  name: MixtureName,
  imatrix: string,
  importance: Entries = valuesIn(imatrix),
  { input, keys = [], ...options }: EngineChanges = {},
): Promise<Buffer> {
  const { datasets, chunks } = readImatrix(imatrix);
  const overrides: KeyOverride[] = [
    ...keys,
    { key: 'quantize.imatrix.file', kind: 'str', value: imatrix.slice(0, 127) },
    ...datasets
      .slice(0, 1)
      .map((text) => ({ key: 'quantize.imatrix.dataset', kind: 'str' as const, value: text.slice(0, 127) })),
    { key: 'quantize.imatrix.entries_count', kind: 'int', value: Object.keys(importance).length },
    ...(chunks > 0 ? [{ key: 'quantize.imatrix.chunks_count', kind: 'int' as const, value: chunks }] : []),
  ];
  const output = at('theirs.gguf');
  quantizeModel(input ?? (await converted(model)), output, {
    ...options,
    ftype: mixtures[name].fileType!,
    threads: 2,
    importance,
    overrides,
  });
  return take(output);
}

export async function ours(model: ModelName, options: Partial<QuantizeOptions>) {
  const output = at('ours.gguf');
  const result = await quantize({ input: models[model], output, threads: 1, ...options });
  const { run: _run, ...report } = buildReport(result);
  return { file: take(output), report };
}

export function take(path: string): Buffer {
  const bytes = readFileSync(path);
  rmSync(path);
  return bytes;
}

/** All that llama-quantize makes of weights, embeddings left out as llama-imatrix does. */
export const matrices = Object.fromEntries(
  Object.entries(models).map(([model, path]) => {
    const entries = collect(path, (name) => name === 'token_embd.weight' || name === 'output.weight');
    return [model, put(directory, `${model} imatrix.gguf`, imatrixBytes(entries))];
  }),
) as Readonly<Record<ModelName, string>>;

/** Whether this version can write the mixture as llama-quantize would. */
export function written(model: ModelName, type: MixtureName): boolean {
  try {
    const { tensors } = planQuantization({ input: models[model], type, imatrix: matrices[model] }).plan;
    return tensors.every((tensor) => !weighted.has(tensor.type) || tensor.type in weightedEncoders);
  } catch (error) {
    if (error instanceof UnsupportedTypeError || error instanceof NoFallbackError) return false;
    throw error;
  }
}

/** Both files, coded in the smallest chunks; and the report says which tensors importance reached. */
export async function expectSame(model: ModelName, name: MixtureName): Promise<void> {
  const imatrix = matrices[model];
  const { file, report } = await ours(model, { type: name, imatrix, chunkSize: SUM_RANGE });
  expect(file.equals(await engine(model, name, imatrix))).toBe(true);
  const { entries } = readImatrix(imatrix);
  const used = report.tensors.filter(({ importance }) => importance);
  const useful = report.tensors.filter(({ name, type }) => weighted.has(type) && entries.has(name));
  expect(used).toEqual(useful);
  expect(report.model.importanceTensors).toBe(used.length);
}

/** A matrix with some of its entries changed, dropped (null) or added; its path. */
export function changed(
  name: string,
  model: ModelName,
  change: (entry: CollectedImportance) => CollectedImportance | null,
): string {
  const entries = collect(models[model]).flatMap((entry) => change(entry) ?? []);
  return put(directory, name, imatrixBytes(entries));
}
