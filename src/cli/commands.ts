import type { Command } from 'commander';
import type { CalibrateFlags } from './calibrate.ts';
import type { EvalFlags } from './eval.ts';
import type { Io } from './io.ts';
import {
  collect,
  parseFloatType,
  parsePercent,
  type QuantizeFlags,
  requireCompatible,
  wholeNumber,
} from './options.ts';
import type { ReportFlags } from './report.ts';
import {
  activationsOption,
  chunkSizeOption,
  contextOption,
  gemmOption,
  kernelsOption,
  MODEL,
  memoryOption,
  seedOption,
  statsOption,
  threadsOption,
} from './shared-options.ts';
import type { TextRunFlags } from './text-run.ts';

/** Adds all commands but the main one and `help`; each loads its code when it runs. `argv`: the words of the command line. */
export function addCommands(program: Command, io: Io, argv: readonly string[]): void {
  const subcommand = (name: string, description: string) =>
    program.command(name).description(description).option('--json', 'print JSON').allowExcessArguments(false);

  subcommand('inspect', 'print what a model holds: tensors, types, metadata')
    .argument('<model>', MODEL)
    .action(async (file: string, flags: { json?: boolean }) => {
      const [{ inspectCommand }, { openCheckpoint }] = await Promise.all([
        import('./inspect.ts'),
        import('../read/checkpoint.ts'),
      ]);
      await inspectCommand(file, flags, io, openCheckpoint);
    });

  subcommand('compare', 'print the error of every tensor of B against A')
    .argument('<A>', `the reference: ${MODEL}`)
    .argument('<B>', 'another form of the same model')
    .action(async (a: string, b: string, flags: { json?: boolean }) => {
      const [{ compareCommand }, { openCheckpoint }, pipeline] = await Promise.all([
        import('./compare.ts'),
        import('../read/checkpoint.ts'),
        import('../pipeline.ts'),
      ]);
      await compareCommand(a, b, flags, io, {
        openCheckpoint,
        asGguf: ({ path }) =>
          pipeline
            .planQuantization({ input: path, type: 'F32' })
            .plan.tensors.flatMap(({ name, shape, source }) =>
              source.kind === 'row-range' ? [] : [{ name, shape, source }],
            ),
      });
    });

  subcommand('dequantize', 'write a model as plain numbers: F32, F16 or BF16, GGUF or safetensors')
    .argument('<model>', MODEL)
    .requiredOption(
      '-o, --output <file>',
      "GGUF, or safetensors if it ends in .safetensors; '-' for standard output",
    )
    .option('--to <type>', 'F32, F16 or BF16 (default: F32)', parseFloatType)
    .option('--force', 'replace an existing output')
    .option('--resume', 'go on where an interrupted run of the same job stopped')
    .option(
      '--report <file>',
      "write what the decoding lost: a page if it ends in .html, else JSON; '-' for standard output",
      collect,
    )
    .option('--verbose', 'every tensor in the table, times and memory')
    .option('--quiet', 'print errors only')
    .addOption(threadsOption())
    .addOption(chunkSizeOption())
    .addOption(kernelsOption())
    .action(async (file: string, { to, ...flags }: QuantizeFlags & { to?: string }) => {
      requireCompatible(flags);
      const [{ quantizeCommand }, pipeline] = await Promise.all([
        import('./quantize.ts'),
        import('../pipeline.ts'),
      ]);
      await quantizeCommand(file, { ...flags, type: to ?? 'F32', decode: true, command: argv }, io, pipeline);
    });

  /** A command that runs a model over a text and writes one file. */
  const overText = (name: string, description: string, output: string) =>
    subcommand(name, description)
      .argument('<model>', MODEL)
      .requiredOption('-o, --output <file>', output)
      .option(
        '--text <file|dir>',
        'text, JSON lines, or a directory of them (repeatable; default: bundled)',
        collect,
      )
      .option('--tokens <n>', 'tokens to take (default: 32768 to 131072, by width)', wholeNumber(1))
      .addOption(contextOption())
      .addOption(seedOption())
      .addOption(threadsOption())
      .addOption(memoryOption())
      .addOption(gemmOption())
      .option('--force', 'replace an existing output')
      .option('--quiet', 'print errors only');

  overText(
    'imatrix',
    'write the importance of every matrix over a text, as llama-imatrix does',
    "importance matrix, GGUF; '-' for standard output",
  ).action(async (file: string, flags: TextRunFlags) => {
    const [{ imatrixCommand }, { collectImportance }] = await Promise.all([
      import('./imatrix.ts'),
      import('../model-runs.ts'),
    ]);
    await imatrixCommand(file, flags, io, collectImportance);
  });

  overText(
    'calibrate',
    'write the ranges of every input of a matrix over a text: static activations',
    "statistics, JSON; '-' for standard output",
  )
    .option(
      '--percentile <p>',
      'of values within the range percentile, in percent (default: 99.99)',
      parsePercent,
    )
    .action(async (file: string, flags: CalibrateFlags) => {
      const [{ calibrateCommand }, { collectActivations }] = await Promise.all([
        import('./calibrate.ts'),
        import('../model-runs.ts'),
      ]);
      await calibrateCommand(file, flags, io, collectActivations);
    });

  subcommand('eval', 'print the perplexity of a model, and how far it is from another form of it')
    .argument('<model...>', `${MODEL}; several one after another`)
    .requiredOption('--text <file>', 'text to predict')
    .option('--base <file>', 'the reference, usually the unquantized model')
    .addOption(contextOption())
    .option('--windows <n>', 'windows at most', wholeNumber(1))
    .addOption(activationsOption())
    .addOption(statsOption())
    .option('--report <file>', 'write a page too, .html')
    .option('--force', 'replace a file that is not a report')
    .option('--layers', "the error of each matrix's outputs against the base's")
    .addOption(threadsOption())
    .addOption(memoryOption())
    .addOption(gemmOption())
    .option('--quiet', 'print errors and the result only')
    .action(async (files: string[], flags: Omit<EvalFlags, 'command'>) => {
      const [{ evalCommand }, modelRuns] = await Promise.all([
        import('./eval.ts'),
        import('../model-runs.ts'),
      ]);
      await evalCommand(files, { ...flags, command: argv }, io, modelRuns);
    });

  program
    .command('report')
    .description('compare runs by their JSON reports: size against quality, and the Pareto front')
    .argument('<report...>', 'JSON reports of runs')
    .option('-o, --output <file>', 'write a page too, .html; of one report that of its run')
    .option('--force', 'replace a file that is not a report')
    .action(async (paths: string[], flags: ReportFlags) => {
      const { reportCommand } = await import('./report.ts');
      await reportCommand(paths, flags, io);
    });

  subcommand('estimate', 'print the file size in every type')
    .argument('<model>', MODEL)
    .action(async (file: string, flags: { json?: boolean }) => {
      const { estimateCommand } = await import('./estimate.ts');
      estimateCommand(file, flags, io);
    });
}
