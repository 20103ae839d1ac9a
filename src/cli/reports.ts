import { UsageError } from '../core/errors.ts';
import type { Report } from '../report/report.ts';
import { isPage, isStandardOutput, reportTarget, samePlace } from './files.ts';
import { type Io, jsonText } from './io.ts';
import type { QuantizeFlags } from './options.ts';

/** Where the reports of a run go. */
export interface ReportTargets {
  /** Whether one of them is a page, which shows histograms and hashes. */
  readonly page: boolean;
  write(report: Report): Promise<void>;
}

/**
 * Checks where the reports go before hours of work depend on it; refuses what would mix one with the GGUF on standard
 * output.
 *
 * @throws UsageError, ReportPathError
 */
export function reportTargets(input: string, flags: QuantizeFlags, io: Io): ReportTargets {
  const {
    output,
    json,
    report = [],
    force,
    imatrix,
    inputScales,
    calibration = [],
    eval: evalText,
    stats,
  } = flags;
  const jsonOnStdout = json === true || report.includes('-');
  const toStdout = output === '-' || output === '/dev/stdout';
  if (jsonOnStdout && (toStdout || (output !== undefined && isStandardOutput(output)))) {
    throw new UsageError('the GGUF and the JSON report cannot both go to standard output', {
      advice: 'write one of them to a file: -o model.gguf, or --report report.json',
    });
  }
  if (toStdout && io.stdout.isTTY && !flags.dryRun) {
    throw new UsageError('a GGUF file is not for a terminal', {
      advice: 'redirect standard output, or pass -o model.gguf',
    });
  }
  const paths = report.filter((path) => path !== '-');
  paths.forEach((path, i) => {
    const twice = paths.slice(0, i).find((other) => samePlace(path, other));
    if (twice !== undefined) throw new UsageError(`--report ${twice} and --report ${path} are the same file`);
  });
  const texts = [...calibration, evalText].filter((text) => text !== undefined);
  const statistics = [stats, inputScales].filter((path) => path !== undefined);
  const others = { input, output: toStdout ? undefined : output, imatrix, statistics, texts };
  const files = paths.map((path) => ({ path, target: reportTarget(path, others, force === true) }));
  return {
    page: paths.some(isPage),
    async write(built) {
      if (jsonOnStdout) io.stdout.write(jsonText(built));
      for (const { path, target } of files)
        target.write(isPage(path) ? await pageOf(built) : jsonText(built));
    },
  };
}

/** The code of pages is loaded when there is one to make. */
async function pageOf(report: Report): Promise<string> {
  const { renderRunPage } = await import('../report/html/run-page.ts');
  return renderRunPage(report);
}
