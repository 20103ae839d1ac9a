/**
 * The ranges of whole tensors, found by passes of all workers over the weights before any is coded. Each search asks its
 * questions in turn; one pass answers a question of every tensor whose search has one. What is held is small: a chunk's
 * answer is added as soon as those before it are in.
 */
import type { CodedRange, Extent } from '../../core/ranges.ts';
import { ChunkIndex, type Job } from '../job.ts';
import type { WasmModule } from '../kernels.ts';
import { newControl, runPool } from '../pool.ts';
import { chooseRange } from './choose.ts';
import { asExtent } from './group.ts';
import type { Query, Search } from './search.ts';
import { addAnswer, answerLength, emptyAnswer, floatOfKey, type TileQuery } from './tile.ts';

export interface SurveyOptions {
  readonly job: Job;
  readonly threads: number;
  readonly module: WasmModule | null;
  readonly signal: AbortSignal | undefined;
}

export interface Surveyed {
  readonly extent: Extent;
  /** Null where blocks or rows have their own. */
  readonly coded: CodedRange | null;
}

/**
 * The extent of every tensor of a job, and the range of each that has one for all its weights. Every tensor has `range`.
 * Nothing of use is returned when the signal aborts.
 *
 * @throws PoolFailure
 */
export async function surveyRanges(options: SurveyOptions): Promise<Surveyed[]> {
  const { job, signal } = options;
  const sums = await pass(
    options,
    job.tensors.map(() => ({ kind: 'extent' })),
  );
  const extents = job.tensors.map(({ elements }, i) => asExtent(elements, sums[i]!));
  const found: (CodedRange | null)[] = job.tensors.map(() => null);
  if (signal?.aborted) return [];

  const searches = job.tensors.map(({ range, elements }, i) =>
    range!.spec.granularity === 'tensor' && elements > 0
      ? bySums(chooseRange(range!.spec, range!.type, extents[i]))
      : null,
  );
  let answers: (Float64Array | null)[] = [];
  for (;;) {
    const queries = searches.map((search, i) => {
      // The first next starts a search; every later one answers its question.
      if (search === null || found[i] !== null) return null;
      const { value, done } = search.next(answers[i] ?? new Float64Array());
      if (!done) return value;
      found[i] = value;
      return null;
    });
    if (queries.every((query) => query === null)) break;
    answers = await pass(options, queries);
    if (signal?.aborted) return [];
  }
  return extents.map((extent, i) => ({ extent, coded: found[i] }));
}

/** A search whose every question can be answered by sums: places in order are found in three steps, by leading bits. */
function* bySums(search: Search): Generator<TileQuery, CodedRange, Float64Array> {
  let step = search.next();
  while (!step.done) {
    step = search.next(step.value.kind === 'ranks' ? yield* ranksBySums(step.value) : yield step.value);
  }
  return step.value;
}

/** Bits of a key that each step finds. */
const STEPS = [11, 11, 10] as const;

function* ranksBySums({
  signed,
  ranks,
}: Extract<Query, { kind: 'ranks' }>): Generator<TileQuery, Float64Array, Float64Array> {
  const left = [...ranks]; // places among the keys with the prefix
  let prefixes = ranks.map(() => 0);
  let shift = 32;
  for (const bits of STEPS) {
    shift -= bits;
    const counts = yield { kind: 'keys', signed, prefixes, shift, bits };
    prefixes = prefixes.map((prefix, i) => {
      let digit = 0;
      for (let at = i << bits; left[i] > counts[at]; at++, digit++) left[i] -= counts[at];
      return ((prefix << bits) | digit) >>> 0;
    });
  }
  return Float64Array.from(prefixes, (key) => floatOfKey(key, signed));
}

/** Answers a question of each tensor that has one. */
async function pass(
  options: SurveyOptions,
  queries: readonly (TileQuery | null)[],
): Promise<(Float64Array | null)[]> {
  const asked = queries.flatMap((query, i) => (query === null ? [] : [i]));
  const job: Job = { ...options.job, tensors: asked.map((i) => options.job.tensors[i]) };
  const own = asked.map((i) => queries[i]!);
  const index = new ChunkIndex(job);
  const totals = own.map(emptyAnswer);
  const next = own.map(() => 0); // the chunk of each tensor to be added next
  const waiting = own.map(() => new Map<number, Float64Array>());
  await runPool({
    ...options,
    job,
    phase: 'survey',
    queries: own,
    target: null,
    control: newControl(),
    onDone(number, { sums }) {
      const { tensor, start } = index.locate(number);
      const query = own[tensor];
      const length = answerLength(query);
      const waits = waiting[tensor];
      waits.set(start / job.chunk, sums);
      for (let chunk = waits.get(next[tensor]); chunk !== undefined; chunk = waits.get(next[tensor])) {
        waits.delete(next[tensor]++);
        for (let at = 0; at < chunk.length; at += length) {
          addAnswer(query, totals[tensor], chunk.subarray(at, at + length));
        }
      }
    },
  });
  const answers: (Float64Array | null)[] = queries.map(() => null);
  asked.forEach((i, at) => {
    answers[i] = totals[at];
  });
  return answers;
}
