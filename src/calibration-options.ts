import { statSync } from 'node:fs';
import { type ActivationChoice, requireStatsRead } from './activation-choice.ts';
import type { CorpusChoice, ForwardChoice, Rounding } from './core/calibration.ts';
import { UsageError } from './core/errors.ts';
import { calibrates } from './plan/presets.ts';
import { accessError } from './read/byte-source.ts';

/** Options of a run that calibrates or evaluates. */
export interface CalibrationOptions extends CorpusChoice, ForwardChoice, ActivationChoice {
  readonly rounding?: Rounding;
  /** Added to the diagonal of each Hessian, as a fraction of its mean. */
  readonly damp?: number;
  /** Share of what the inputs of a matrix have lost that its codes make up for; 0 saves the second pass of the float model. */
  readonly correction?: number;
  /** Columns in the order of falling diagonal. */
  readonly actOrder?: boolean;
  /** Text to evaluate the result on. */
  readonly evalText?: string;
}

/** What else of a run decides whether these options make sense. */
interface Run {
  readonly method?: string | undefined;
  readonly imatrix?: string;
  readonly split?: unknown;
  readonly pruneLayers?: readonly number[];
}

const MAX_SEED = 2 ** 32 - 1;

/**
 * Refuses what contradicts itself before anything is read: options of calibration without a method that calibrates, and
 * options that such a method cannot take; numbers out of range; texts that are not there.
 *
 * @throws UsageError, FileMissingError, FileAccessError
 */
export function requireCalibrationOptions(options: CalibrationOptions & Run): void {
  requireNumbers(options);
  const { calibration = [], evalText, stats, method, imatrix, split, rounding, actOrder } = options;
  requireEvaluation(options);
  if (!calibrates(method)) {
    requireNoneWithoutMethod(options);
  } else if (imatrix !== undefined) {
    throw new UsageError('--imatrix and --method gptq contradict each other', {
      expected: 'one source of importance',
      got: 'a file of it, and a method that takes it and more from the text it calibrates on',
      advice: 'leave out --imatrix, or choose --method kquant to quantize by the file',
    });
  } else if (split !== undefined) {
    throw new UsageError('--split K/N and --method gptq contradict each other', {
      expected: 'the whole model in one run',
      got: 'a part: its blocks need the inputs that all quantized blocks before them give',
      advice: 'leave out --split; --split-max-size cuts the output of one run into files',
    });
  } else if (rounding === 'nearest' && actOrder) {
    throw new UsageError('--act-order and --rounding nearest contradict each other', {
      got: 'an order of rounding, and a rounding in which no weight depends on another',
      advice: 'leave out one of them',
    });
  }
  for (const path of [...calibration, evalText, stats]) {
    if (path === undefined) continue;
    try {
      statSync(path);
    } catch (cause) {
      throw accessError(path, cause);
    }
  }
}

/** Options of an evaluation: without one, or without what needs them, or of another model. */
function requireEvaluation(options: CalibrationOptions & Run): void {
  const { evalText, activations, stats, pruneLayers = [] } = options;
  if (activations !== undefined && evalText === undefined) {
    throw new UsageError('--activations is about an evaluation, and none was asked for', {
      expected: '--eval TEXT with --activations',
      advice: 'pass --eval TEXT too, or leave out --activations',
    });
  }
  requireStatsRead(options);
  if (stats !== undefined && pruneLayers.length > 0) {
    throw new UsageError('--stats and --prune-layers contradict each other', {
      expected: 'statistics of the model that is evaluated',
      got: '--prune-layers, which renumbers layers',
      advice: 'leave out one of the two options; of a pruned model: prune it first, then calibrate that file',
    });
  }
}

/** Options that only a method that calibrates reads, by their names on the command line. */
function requireNoneWithoutMethod(options: CalibrationOptions): void {
  const { evalText } = options;
  const given: [string, unknown][] = [
    ['--calibration', options.calibration],
    ['--calibration-field', options.calibrationField],
    ['--calibration-tokens', options.calibrationTokens],
    ['--seed', options.seed],
    ['--damp', options.damp],
    ['--correction', options.correction],
    ['--act-order', options.actOrder],
    ['--rounding', options.rounding],
    // An evaluation runs the model too.
    ...(evalText === undefined
      ? ([
          ['--context', options.context],
          ['--memory', options.memory],
          ['--gemm', options.gemm],
        ] as [string, unknown][])
      : []),
  ];
  const name = given.find(([, value]) => value !== undefined)?.[0];
  if (name === undefined) return;
  throw new UsageError(`${name} is about calibration, and the method does not calibrate`, {
    expected: '--method gptq',
    advice: 'pass --method gptq too; to make an importance matrix for any other method: quantize imatrix',
  });
}

function requireNumbers({
  calibrationTokens,
  context,
  seed,
  damp,
  correction,
  memory,
}: CalibrationOptions): void {
  const whole = (name: string, value: number | undefined, least: number, most = Number.MAX_SAFE_INTEGER) => {
    if (value === undefined || (Number.isSafeInteger(value) && value >= least && value <= most)) return;
    throw new UsageError(`${name} is out of range`, {
      expected: `a whole number of at least ${least}${most === Number.MAX_SAFE_INTEGER ? '' : `, up to ${most}`}`,
      got: String(value),
    });
  };
  whole('--calibration-tokens', calibrationTokens, 1);
  whole('--context', context, 2);
  whole('--seed', seed, 0, MAX_SEED);
  whole('--memory', memory, 1);
  if (correction !== undefined && !(correction >= 0 && correction <= 1)) {
    throw new UsageError('--correction is out of range', {
      expected: 'a share of what inputs have lost, from 0 to 1',
      got: String(correction),
    });
  }
  if (damp !== undefined && !(damp >= 0 && damp <= 1)) {
    throw new UsageError('--damp is out of range', {
      expected: 'a fraction of the mean diagonal, from 0 to 1',
      got: String(damp),
    });
  }
}
