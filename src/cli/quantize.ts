import { type CalibrationTimes, calibrationPhases } from '../core/calibration.ts';
import type { Plan } from '../core/plan.ts';
import { type RunResult, stages } from '../core/result.ts';
import type { planQuantization, quantize } from '../pipeline.ts';
import { formatBytes, formatSeconds, printable } from '../report/format.ts';
import { buildReport, type Report } from '../report/report.ts';
import { renderSummary, sqnr } from '../report/summary.ts';
import { showPlan } from './dry-run.ts';
import { requireInput } from './files.ts';
import { hasColor, type Io, styles, tableStyle } from './io.ts';
import { pipelineOptions, type QuantizeFlags } from './options.ts';
import { createProgress } from './progress.ts';
import { requireQuality } from './quality.ts';
import { reportTargets } from './reports.ts';

/** The stages, as this command needs them. */
export interface Pipeline {
  planQuantization: typeof planQuantization;
  quantize: typeof quantize;
}

/** Warnings shown one by one; the rest is counted. */
const WARNINGS_SHOWN = 10;

/** `quantize <model>`: the main job, or with --dry-run only its plan. */
export async function quantizeCommand(
  input: string,
  flags: QuantizeFlags,
  io: Io,
  pipeline: Pipeline,
): Promise<void> {
  const reports = reportTargets(input, flags, io);
  requireInput(input);
  const options = {
    ...pipelineOptions(input, flags),
    ...(reports.page && { histograms: true, hashOutput: true }),
  };

  if (flags.dryRun) {
    const { plan, layout } = pipeline.planQuantization(options);
    if (!flags.quiet) for (const line of remarksOn(plan, io)) io.stderr.write(`${line}\n`);
    await showPlan(plan, layout, flags.json === true, io);
    return;
  }

  const progress = await createProgress(io, flags.quiet === true);
  let kept: readonly string[] = [];
  let result: RunResult;
  try {
    result = await pipeline.quantize({ ...options, signal: io.interruptible() }, (event) => {
      progress.handle(event);
      if (event.kind === 'kept') kept = event.paths;
      if (event.kind === 'stage' && event.stage === 'calibrate') io.collectGarbage(); // the work begins
      if (event.kind === 'plan') for (const line of remarksOn(event.plan, io)) progress.note(line);
    });
  } catch (error) {
    progress.stop();
    if (kept.length > 0) {
      const names = kept.length === 2 ? kept : [kept[0], `${kept.length - 1} files more`];
      io.stderr.write(
        `kept ${names.map(printable).join(' and ')} for --resume; any other run replaces them\n`,
      );
    }
    throw error;
  }
  progress.stop();

  const built = buildReport(result, flags.command);
  if (!flags.quiet) io.stderr.write(await describeRun(built, result, flags, io));
  await reports.write(built);
  if (result.evaluationError !== undefined) throw result.evaluationError;
  requireQuality(built.tensors, flags);
}

/** A line for each note and warning of the plan: what was chosen, whether the file runs at all, then the rest. */
function remarksOn(plan: Plan, io: Io): string[] {
  const { yellow, bold } = styles(hasColor(io.stderr, io.env));
  const more = plan.warnings.length - WARNINGS_SHOWN;
  const warnings = [
    ...(plan.runnable.yes ? [] : [notRunnable(plan.runnable.reason)]),
    ...plan.warnings.slice(0, WARNINGS_SHOWN),
    ...(more > 0 ? [`and ${more} more, all of them in the report`] : []),
  ];
  return [
    ...plan.notes.map((text) => `${bold('note:')} ${printable(text)}`),
    ...warnings.map((text) => `${yellow('warning:')} ${printable(text)}`),
  ];
}

const notRunnable = (reason: string): string => `llama.cpp cannot run this file: ${reason}`;

/** "m.gguf", "m-00001-of-00003.gguf and 2 more". */
function wrote({ output, split }: RunResult): string {
  const more = split === null ? 0 : split.parts.length - 1;
  return `${output ?? 'to standard output'}${more > 0 ? ` and ${more} more` : ''}`;
}

/** Where the time of a calibration went. */
function describeCalibration({ coresBusy, ...seconds }: CalibrationTimes): string {
  const spent = calibrationPhases.map((phase) => `${phase} ${formatSeconds(seconds[phase])}`);
  return `       of calibration: ${spent.join(', ')}; ${coresBusy.toFixed(1)} processors busy`;
}

/** Error table, summary and the closing line of a run. */
async function describeRun(report: Report, result: RunResult, flags: QuantizeFlags, io: Io): Promise<string> {
  const [{ renderTensors, WORST_TENSORS }, { describeActivations }] = await Promise.all([
    import('../report/table.ts'),
    import('../report/activations.ts'),
  ]);
  const style = tableStyle(io.stderr, io.env);
  const { bold, yellow } = styles(style.color);
  const { model, run } = report;
  const limit = flags.verbose ? report.tensors.length : WORST_TENSORS;
  const hidden = report.tensors.length - limit;
  const lines = [
    renderTensors(report.tensors, limit, style),
    ...(hidden > 0 ? [`and ${hidden} tensors with less error (all: --verbose)`] : []),
    '',
    renderSummary(report),
    ...(model.evaluation?.activations
      ? ['', describeActivations(model.evaluation, model.evaluation.activations, style).join('\n\n'), '']
      : []),
  ];
  if (flags.verbose) {
    lines.push(
      `time   ${stages.map((stage) => `${stage} ${formatSeconds(run.seconds[stage])}`).join(', ')}`,
      ...(run.calibrationSeconds ? [describeCalibration(run.calibrationSeconds)] : []),
      `       ${run.threads} threads, ${run.kernels} kernels, ${run.gemm === null ? '' : `${run.gemm} matrix products, `}peak memory ${formatBytes(run.peakRssBytes)}`,
      ...(run.withoutBlas === undefined ? [] : [`       no BLAS: ${printable(run.withoutBlas)}`]),
    );
  }
  // Those of the plan were shown before the run.
  for (const warning of report.warnings.slice(result.plan.warnings.length)) {
    lines.push(`${yellow('warning:')} ${printable(warning)}`);
  }
  if (model.notRunnableReason !== null) {
    lines.push(`${yellow('warning:')} ${printable(notRunnable(model.notRunnableReason))}`);
  }
  lines.push(
    `${bold('wrote')} ${printable(wrote(result))}: ${formatBytes(model.fileBytes)}, ` +
      `${model.bitsPerWeight.toFixed(2)} bits per weight, SQNR ${sqnr(model.metrics)}, ` +
      `in ${formatSeconds(run.seconds.total)}`,
  );
  return `${lines.join('\n')}\n`;
}
