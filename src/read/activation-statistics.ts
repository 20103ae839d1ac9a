import { readFileSync } from 'node:fs';
import {
  type ActivationGroup,
  type ActivationStatistics,
  activationBits,
  rangeMethods,
  STATISTICS,
} from '../core/activations.ts';
import { QuantizeError } from '../core/errors.ts';
import { accessError } from './byte-source.ts';

/** A file is not one that `quantize calibrate` wrote, or was changed. */
export class ActivationStatisticsError extends QuantizeError {}

/**
 * Reads a file of `quantize calibrate` (docs/activations.md). Everything that a run makes use of is checked.
 *
 * @throws ActivationStatisticsError, FileMissingError, FileAccessError
 */
export function readActivationStatistics(path: string): ActivationStatistics {
  const refuse = (expected: string, got: unknown): never => {
    throw new ActivationStatisticsError('the file is not one of activation statistics', {
      file: path,
      expected,
      got: String(JSON.stringify(got)).slice(0, 200),
      advice: 'make it by: quantize calibrate MODEL -o stats.json',
    });
  };
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw accessError(path, cause);
  }
  let found: Partial<ActivationStatistics> & { schema?: unknown; version?: unknown };
  try {
    found = JSON.parse(text);
  } catch {
    return refuse('JSON', text.slice(0, 40));
  }
  if (found?.schema !== STATISTICS.schema || found.version !== STATISTICS.version) {
    refuse(`"schema": "${STATISTICS.schema}", "version": ${STATISTICS.version}`, found?.schema);
  }
  const { corpus, percentile } = found;
  if (
    typeof corpus?.corpus !== 'string' ||
    typeof corpus.sha256 !== 'string' ||
    !Array.isArray(corpus.files) ||
    ![corpus.tokens, corpus.windows, corpus.context, corpus.seed].every(isCount)
  ) {
    refuse(
      'an object "corpus" of "corpus", "files", "tokens", "windows", "context", "sha256" and "seed"',
      corpus,
    );
  }
  if (!(Number(percentile) > 0 && Number(percentile) <= 100)) {
    refuse('"percentile", a number of more than 0, up to 100', percentile);
  }
  if (!Array.isArray(found.groups)) refuse('a list "groups"', found.groups);
  for (const group of found.groups!) {
    const wrong = faultOf(group);
    if (wrong !== null) refuse(`${wrong} in each group`, group);
  }
  return found as ActivationStatistics;
}

/** What a group should have and has not. */
function faultOf(group: ActivationGroup): string | null {
  const { tensors, expert, columns, ranges } = group ?? {};
  if (!Array.isArray(tensors) || tensors.length === 0 || !tensors.every((name) => typeof name === 'string')) {
    return 'a list of names "tensors"';
  }
  if (expert !== null && !isCount(expert)) return 'a number or null "expert"';
  if (!isCount(columns)) return 'a number "columns"';
  if (!Array.isArray(ranges)) return 'a list "ranges"';
  const whole = ranges.every(
    (each) =>
      activationBits.includes(each?.bits) &&
      typeof each.symmetric === 'boolean' &&
      rangeMethods.includes(each.method) &&
      Number.isFinite(each.range?.scale) &&
      each.range.scale >= 0 &&
      isCount(each.range.zeroPoint),
  );
  return whole ? null : '"bits", "symmetric", "method", and a "range" with "scale" and "zeroPoint"';
}

const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && Number(value) >= 0;
