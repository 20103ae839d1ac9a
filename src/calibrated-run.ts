import { type Corpus, readCorpus } from './calibrate/corpus.ts';
import type { ForwardModel, ForwardTensor } from './calibrate/forward/shape.ts';
import { openTokenizer } from './calibrate/tokenizer.ts';
import { type Gemm, gemmFacts, openGemm } from './compute/gemm-choice.ts';
import { conduct } from './conduct/conductor.ts';
import type { CalibratedTensor } from './conduct/gptq.ts';
import type { CalibrationFacts, CalibrationTimes, PlannedCalibration } from './core/calibration.ts';
import type { Plan, PlannedTensor } from './core/plan.ts';
import { bytesOf, dataTypes, elementsOf } from './core/types.ts';
import type { QuantizeOptions } from './planned-run.ts';
import type { Place, Run } from './run.ts';
import type { RunOutput, TensorBlocks } from './run-output.ts';

/** What is added to Hessians, unless the user says otherwise: this part of their mean diagonal. */
const DEFAULT_DAMPING = 0.01;
/** Tokens to calibrate on, unless the user says otherwise: so many for each column of the widest matrix, within limits. */
const TOKENS_PER_COLUMN = 8;
const LEAST_TOKENS = 32_768;
const MOST_TOKENS = 131_072;
/** Share of what inputs have lost that codes make up for (docs/gptq.md). */
const CORRECTION = 0.75;

/** A run whose method calibrates: what it calibrates on, and the coding of the tensors that wait for that. */
export class CalibratedRun {
  readonly #run: Run;
  readonly #corpus: Corpus;
  readonly #calibration: PlannedCalibration;
  readonly #gemm: Gemm;
  /** Set by `codeInto`, unless an earlier run has coded everything. */
  times: CalibrationTimes | null = null;

  /**
   * Reads the text, and finds what multiplies matrices.
   *
   * @throws the errors of openTokenizer, readCorpus and openGemm
   */
  constructor(run: Run) {
    const { plan, options } = run;
    this.#run = run;
    this.#calibration = plan.calibration!;
    this.#corpus = corpusOf(plan, options);
    this.#gemm = openGemm(options.gemm ?? 'auto');
  }

  /** What multiplies matrices. */
  get gemm(): string {
    return this.#gemm.name;
  }

  /** What the user should know of the text. */
  get warnings(): readonly string[] {
    return this.#corpus.warnings;
  }

  /** The text, for who is told that it has changed. */
  get text(): Record<string, string> {
    const { tokens, sha256 } = this.#corpus;
    return { 'calibration text': `${tokens} tokens, SHA-256 ${sha256.slice(0, 16)}` };
  }

  /** What decides the bytes, besides the plan and `gemm`. */
  get decisive(): unknown {
    const { context, tokens, sha256 } = this.#corpus;
    const { seed = 0 } = this.#run.options;
    return { context, tokens, sha256, seed, ...this.#how(), ...this.#calibration };
  }

  #how() {
    const { damp = DEFAULT_DAMPING, correction = CORRECTION, actOrder = false } = this.#run.options;
    return { damping: damp, actOrder, correction };
  }

  facts(): CalibrationFacts {
    return { ...factsOf(this.#corpus, this.#run.options, this.#gemm), ...this.#calibration, ...this.#how() };
  }

  /**
   * Codes the tensors that wait for calibration, block by block, and writes each block's as soon as they are there, after those
   * that wait for nothing. To a stream, which takes tensors in file order, they all go at the end: then their blocks are
   * returned.
   *
   * @throws the errors of `conduct` and of RunOutput.encode; the signal's reason when it aborts
   */
  async codeInto(out: RunOutput): Promise<TensorBlocks> {
    const { target, progress } = out;
    const { plan, planned, places, resources, options, onEvent } = this.#run;
    const { signal } = options;
    const kept = new Map<number, Uint8Array>();
    const waiting = new Set([...planned.keys()].filter((i) => planned[i].calibrated !== undefined));
    const others = new Set([...planned.keys()].filter((i) => !waiting.has(i)));
    if (target.kind === 'files') await out.encode(new Map(), others);
    signal?.throwIfAborted();

    const isDone = (i: number) =>
      progress[i].calibration !== null && progress[i].sums.count === elementsOf(planned[i].shape);
    const done = [...waiting].filter(isDone);
    const left = [...waiting].filter((i) => !isDone(i));
    if (left.length === 0) return kept;
    const numbers = new Map(left.map((i) => [planned[i].name, i]));
    const model = modelOf(plan);
    const coded =
      target.kind === 'files' && done.length > 0
        ? withWritten(
            model,
            done.map((i) => ({ ...planned[i], ...places[i] })),
            target.paths,
          )
        : undefined;
    this.times = await conduct(
      {
        kind: 'gptq',
        threads: resources.threads,
        memory: options.memory,
        gemm: this.#gemm,
        model,
        windows: this.#corpus.windows,
        gptq: {
          ...this.#how(),
          ...(coded && { coded }),
          rounding: this.#calibration.rounding,
          tensors: left.map((i) => calibratedTensor(planned[i])),
          embedding: embeddingType(planned),
        },
      },
      {
        signal,
        onProgress: (progress) => onEvent({ ...progress, kind: 'calibration' }),
        async onCoded(coded) {
          const ready = new Map<number, Uint8Array>();
          for (const { name, blocks, calibration } of coded) {
            const i = numbers.get(name)!;
            numbers.delete(name);
            progress[i].calibration = calibration;
            (target.kind === 'files' ? ready : kept).set(i, blocks);
          }
          if (ready.size > 0) await out.encode(ready, new Set(ready.keys()));
        },
      },
    );
    const [missing] = numbers.keys();
    if (missing !== undefined) throw new Error(`calibration did not code ${missing}`);
    const unwritten = target.kind === 'files' ? [...waiting].find((i) => !isDone(i)) : undefined;
    if (unwritten !== undefined) throw new Error(`${planned[unwritten].name} is not whole`);
    return kept;
  }
}

/** A plan's model, as a forward pass takes it: float or quantized as its source is. */
export const modelOf = ({ checkpoint, metadata, tensors }: Plan): ForwardModel => ({
  path: checkpoint.path,
  files: checkpoint.files,
  metadata,
  tensors: tensors.map(({ name, shape, source }) => ({ name, shape, source })),
});

/** The text that the options name, in windows. */
export function corpusOf(plan: Plan, options: QuantizeOptions, tokensOption?: string): Corpus {
  const { checkpoint, metadata } = plan;
  return readCorpus(metadata, openTokenizer(metadata, checkpoint.path), {
    sources: options.calibration ?? [],
    field: options.calibrationField ?? null,
    tokens: options.calibrationTokens ?? usualTokens(plan),
    context: options.context ?? null,
    seed: options.seed ?? 0,
    ...(tokensOption !== undefined && { tokensOption }),
  });
}

/** Enough that more changed nothing (docs/gptq.md): a Hessian of n columns has n directions to see. */
function usualTokens({ tensors }: Plan): number {
  const columns = tensors.filter(({ shape }) => shape.length > 1).map(({ shape }) => shape[0]);
  return Math.min(MOST_TOKENS, Math.max(LEAST_TOKENS, TOKENS_PER_COLUMN * Math.max(...columns)));
}

/** What the report says of a text. */
export const factsOf = (
  { name, files, tokens, windows, context, sha256 }: Corpus,
  { seed = 0 }: { readonly seed?: number },
  gemm: Gemm,
) => ({ corpus: name, files, tokens, windows: windows.length, context, sha256, seed, ...gemmFacts(gemm) });

const calibratedTensor = ({ name, shape, type, calibrated }: PlannedTensor): CalibratedTensor => ({
  name,
  shape,
  type,
  statistics: calibrated!,
});

/** What the embeddings will have become when they are looked up; null where they stay, or are coded last, as the output. */
function embeddingType(planned: readonly PlannedTensor[]): CalibratedTensor['type'] | null {
  const embedding = planned.find(({ name }) => name === 'token_embd.weight');
  if (embedding === undefined || embedding.calibrated !== undefined) return null;
  return dataTypes[embedding.type].kind === 'quantized' ? embedding.type : null;
}

/** The model with tensors that are written already read from where they lie. */
function withWritten(
  model: ForwardModel,
  written: readonly (PlannedTensor & Place)[],
  paths: readonly string[],
): ForwardModel {
  const places = new Map(written.map((tensor) => [tensor.name, tensor]));
  const tensors = model.tensors.map((tensor): ForwardTensor => {
    const place = places.get(tensor.name);
    if (place === undefined) return tensor;
    const { name, type, shape, offset } = place;
    const part = {
      ...{ name, type, offset, shape: shape.toReversed() },
      ...{ file: model.files.length + place.file, byteLength: bytesOf(type, elementsOf(shape)) },
    };
    return { ...tensor, source: { kind: 'stored', parts: [part], rows: { kind: 'file' } } };
  });
  return { ...model, files: [...model.files, ...paths.map((path) => ({ path }))], tensors };
}
