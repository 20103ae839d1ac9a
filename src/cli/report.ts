import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { UsageError } from '../core/errors.ts';
import { version } from '../core/version.ts';
import { printable } from '../report/format.ts';
import { parseReport } from '../report/read-report.ts';
import {
  anyEvaluated,
  anyRanged,
  type Comparison,
  compareRuns,
  figuresOf,
  rangesOfRun,
} from '../report/side-by-side.ts';
import { renderTable } from '../report/table.ts';
import { isPage, placeReport, requireInput, samePlace } from './files.ts';
import { hasColor, type Io, styles, tableStyle } from './io.ts';

/** Options of `quantize report`, as commander hands them over. */
export interface ReportFlags {
  output?: string;
  force?: boolean;
}

/**
 * `quantize report A.json B.json ...`: a table of the runs on standard output, the Pareto front marked; with -o a page,
 * of one report that of its run.
 *
 * @throws UsageError, InputNotFoundError, ReportFileError, ReportPathError
 */
export async function reportCommand(paths: readonly string[], flags: ReportFlags, io: Io): Promise<void> {
  const { output } = flags;
  if (output !== undefined && !isPage(output)) {
    throw new UsageError(`-o ${output} is not the name of a page`, { advice: 'name it .html' });
  }
  const replaced = paths.find((path) => output !== undefined && samePlace(output, path));
  if (replaced !== undefined) throw new UsageError(`-o and a report to read are the same file: ${replaced}`);
  const target = output === undefined ? null : placeReport(output, flags.force === true, null);
  const named = paths.map((path) => {
    requireInput(path, 'a JSON report is written by: quantize MODEL --report FILE.json');
    return { name: nameOf(path, paths), report: parseReport(readFileSync(path, 'utf8'), path) };
  });
  const comparison = compareRuns(named);
  const { yellow } = styles(hasColor(io.stderr, io.env));
  for (const text of comparison.warnings) io.stderr.write(`${yellow('warning:')} ${text}\n`);
  io.stdout.write(`${renderRuns(comparison, io)}\n`);
  if (target === null) return;
  if (named.length === 1) {
    const { renderRunPage } = await import('../report/html/run-page.ts');
    target.write(renderRunPage(named[0].report));
  } else {
    const { renderSideBySidePage } = await import('../report/html/side-by-side-page.ts');
    target.write(renderSideBySidePage(comparison, version));
  }
  io.stderr.write(`wrote ${printable(output!)}\n`);
}

/** The name of a file without its ending, or its path where another file has the same. */
function nameOf(path: string, paths: readonly string[]): string {
  const name = basename(path);
  return paths.filter((other) => basename(other) === name).length > 1 ? path : name.replace(/\.json$/i, '');
}

function renderRuns(comparison: Comparison, io: Io): string {
  const { runs, measure } = comparison;
  const evaluated = anyEvaluated(comparison);
  const ranged = anyRanged(comparison);
  const table = renderTable(
    [
      { head: 'run', cut: 'late' },
      { head: 'type' },
      { head: 'method', drop: 1 },
      ...(ranged
        ? [
            { head: 'range', drop: 4 },
            { head: 'one a', drop: 3 },
          ]
        : []),
      { head: 'bits', align: 'right' },
      { head: 'file', align: 'right' },
      { head: 'rel. error', align: 'right' },
      { head: 'SQNR', align: 'right', drop: 2 },
      ...(evaluated
        ? [
            { head: 'perplexity', align: 'right' as const },
            { head: 'KL, nat', align: 'right' as const },
          ]
        : []),
      { head: 'front' },
    ],
    runs.map((run) => [
      run.name,
      run.report.model.fileType,
      run.report.model.method,
      ...(ranged ? rangesOfRun(run, '') : []),
      ...figuresOf(run, evaluated, ''),
      run.best ? '*' : '',
    ]),
    tableStyle(io.stdout, io.env),
  );
  return `${table}\n\n* on the Pareto front of file size and ${measure}`;
}
