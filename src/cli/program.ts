import { existsSync } from 'node:fs';
import { Command, Option } from 'commander';
import { rangeMethods } from '../core/activations.ts';
import { roundings } from '../core/calibration.ts';
import { UsageError } from '../core/errors.ts';
import { closest } from '../core/suggest.ts';
import { version } from '../core/version.ts';
import type { CalibrateFlags } from './calibrate.ts';
import type { EvalFlags } from './eval.ts';
import type { Io } from './io.ts';
import {
  collect,
  decimal,
  parseChunkSize,
  parseFloatType,
  parseGemm,
  parseLayers,
  parseMemory,
  parsePart,
  parseSplitSize,
  parseTensorType,
  type QuantizeFlags,
  wholeNumber,
} from './options.ts';
import type { ReportFlags } from './report.ts';
import type { TextRunFlags } from './text-run.ts';

const MODEL = 'Hugging Face directory, .safetensors file or index, or GGUF';

const examples = `
Examples:
  quantize ./Llama-3.2-1B                     to Llama-3.2-1B-Q4_K_M.gguf
  quantize model.safetensors --method absmax --bits 8 -o m.gguf
  quantize ./model --tensor-type ffn_down=Q6_K --report report.html
  quantize ./model --type Q4_0 --min-sqnr 18  exit 3 if a tensor is worse
  quantize ./model --type Q8_0 -o - | ssh host 'cat > m.gguf'
  quantize ./model --type Q4_K_M --split 2/8  one of 8 processes, see
                                              docs/distributed.md
  quantize model-BF16.gguf --type Q5_K_M      a GGUF, whole or any of its parts
  quantize estimate ./model                   sizes before anything runs
  quantize dequantize model-Q4_K_M.gguf -o model.safetensors
  quantize ./model --method gptq --bits 4     calibrated on the bundled text
  quantize ./model --method gptq --type Q3_K_M --calibration notes/ --eval e.txt
  quantize imatrix ./model --text notes.txt -o imatrix.gguf
  quantize eval model-Q4_K_M.gguf --text e.txt --base ./model
  quantize report a.json b.json -o runs.html  runs side by side

Exit status:
  0 done; 1 bad input or failed run; 2 bad usage; 3 a quality bar is missed;
  129, 130, 143 interrupted by SIGHUP, SIGINT, SIGTERM; 141 by its reader
`.trimEnd();

/** The command line, whose words are `argv`. Each command's code, and with it the stages, is loaded when it runs. */
export function createProgram(io: Io, argv: readonly string[]): Command {
  const program = new Command('quantize')
    .description('Quantize a published language model to a GGUF file that llama.cpp runs.')
    .version(version, '--version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .exitOverride()
    .configureOutput({
      writeOut: (text) => void io.stdout.write(text),
      writeErr: (text) => void io.stderr.write(text),
    })
    .showSuggestionAfterError()
    .showHelpAfterError('(quantize --help lists the options)')
    .enablePositionalOptions();

  addCommands(program, io, argv);
  program.addCommand(helpCommand(program));

  return program
    .usage('<model> [options]')
    .argument('<model>', MODEL)
    .allowExcessArguments() // refused below, with the likely mistake
    .optionsGroup('What to write:')
    .option(
      '--type <type>',
      'type or mixture, as llama-quantize names them: Q8_0, F16, ..., COPY (default: Q4_K_M)',
    )
    .option('--method <method>', 'preset: absmax, zero-point, kquant, ternary, binary, gptq')
    .option('--bits <n>', 'bits per weight of the preset', wholeNumber(1))
    .option('--pure', 'the same type for every matrix, no mixture')
    .option('--leave-output-tensor', 'do not quantize output.weight')
    .option('--output-tensor-type <type>', 'type of output.weight')
    .option('--token-embedding-type <type>', 'type of the token embeddings')
    .option('--tensor-type <regex=type>', 'type of tensors whose name matches (repeatable)', parseTensorType)
    .option('--allow-requantize', 'quantize a GGUF that is quantized already (the errors add up)')
    .option(
      '--override-kv <k=type:value>',
      'set a metadata key: int, float, bool or str (repeatable)',
      collect,
    )
    .option('--prune-layers <n,n,...>', 'leave these layers out', parseLayers)
    .option('--tokenizer-pre <name>', "llama.cpp's name of the pre-tokenizer, where it is unknown")
    .optionsGroup('Ranges (docs/ranges.md):')
    .option('--range <rule>', 'absmax, minmax, percentile=P, clip=LOW,HIGH, mse, entropy or absmean')
    .option('--granularity <what>', 'what shares a range: block, channel (a row) or tensor')
    .option('--symmetric <form>', 'codes around zero: restricted (-127..127) or full (-128..127)')
    .option('--center', 'binary: signs of weights less their mean')
    .optionsGroup('Importance:')
    .option('--imatrix <file>', 'importance matrix of llama-imatrix, GGUF or .dat')
    .option('--include-weights <text>', 'only for tensors whose name contains this (repeatable)', collect)
    .option('--exclude-weights <text>', 'not for tensors whose name contains this (repeatable)', collect)
    .option(
      '--input-scales <stats>',
      'write static scales of inputs beside the weights: of quantize calibrate',
    )
    .addOption(
      new Option('--input-scale-range <kind>', 'which of their ranges (default: mse)').choices([
        ...rangeMethods,
      ]),
    )
    .optionsGroup('Calibration:')
    .option(
      '--calibration <file|dir>',
      'text, JSON lines, or a directory of them (repeatable; default: bundled)',
      collect,
    )
    .option('--calibration-field <name>', 'field of JSON lines that holds the text')
    .option(
      '--calibration-tokens <n>',
      'tokens to calibrate on (default: 32768 to 131072, by width)',
      wholeNumber(1),
    )
    .option('--context <n>', 'tokens in a window', wholeNumber(2))
    .option('--seed <n>', 'of the choice of windows from a longer text (default: 0)', wholeNumber(0))
    .option('--damp <fraction>', 'of the mean diagonal, added to it (default: 0.01)', decimal(0))
    .option(
      '--correction <share>',
      'of what inputs have lost, made up for; 0: less memory (default: 0.75)',
      decimal(0),
    )
    .option('--act-order', 'round the columns with the largest inputs first')
    .addOption(
      new Option('--rounding <kind>', 'how codes are chosen (default: gptq)').choices([...roundings]),
    )
    .addOption(memoryOption())
    .addOption(gemmOption())
    .option('--eval <text>', 'perplexity of the result on this text, and its distance from the input')
    .optionsGroup('Where to:')
    .option('-o, --output <file>', "output file, '-' for standard output (default: <model>-<TYPE>.gguf)")
    .option('--split-max-size <size>', 'split into files of at most N(M|G) bytes of tensors', parseSplitSize)
    .option('--split-max-tensors <n>', 'split into files of at most n tensors', wholeNumber(1))
    .option('--split <K/N>', 'write only the K-th of N files of about one size', parsePart)
    .option('--keep-split', 'write a split GGUF in the same parts')
    .option('--force', 'replace an existing output')
    .option('--resume', 'go on where an interrupted run of the same job stopped')
    .option('--dry-run', 'print the plan, write nothing')
    .optionsGroup('Report:')
    .option(
      '--report <file>',
      "write the error report: a page if it ends in .html, else JSON; '-' for standard output (repeatable)",
      collect,
    )
    .option('--histograms', 'histograms of every tensor in the JSON report too; a page always has them')
    .option('--json', 'the same as --report -; with --dry-run the plan as JSON')
    .option('--max-error <x>', 'exit 3 if a tensor has a larger relative error ||W-Q||^2/||W||^2', decimal(0))
    .option('--min-sqnr <dB>', 'exit 3 if a tensor has a smaller signal-to-noise ratio', decimal())
    .option('--verbose', 'every tensor in the table, times and memory')
    .option('--quiet', 'print errors only; warnings are in the report')
    .optionsGroup('Machine:')
    .option('--threads <n>', 'worker threads (default: all cores)', wholeNumber(1))
    .option('--chunk-size <n>', 'weights a thread handles at a time (default: 1048576)', parseChunkSize)
    .addOption(kernelsOption())
    .addHelpText('after', examples)
    .action(async (model: string, flags: QuantizeFlags, { args }: Command) => {
      if (args.length > 1) throw excessArguments(program, args);
      if (!existsSync(model)) refuseMistypedCommand(program, model);
      requireCompatible(flags);
      const [{ quantizeCommand }, pipeline] = await Promise.all([
        import('./quantize.ts'),
        import('../pipeline.ts'),
      ]);
      await quantizeCommand(model, { ...flags, command: argv }, io, pipeline);
    });
}

function addCommands(program: Command, io: Io, argv: readonly string[]): void {
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
    .option('--threads <n>', 'worker threads (default: all cores)', wholeNumber(1))
    .option('--chunk-size <n>', 'weights a thread handles at a time (default: 1048576)', parseChunkSize)
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
      .option('--context <n>', 'tokens in a window', wholeNumber(2))
      .option('--seed <n>', 'of the choice of windows from a longer text (default: 0)', wholeNumber(0))
      .option('--threads <n>', 'worker threads (default: all cores)', wholeNumber(1))
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
      decimal(0),
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
    .option('--context <n>', 'tokens in a window', wholeNumber(2))
    .option('--windows <n>', 'windows at most', wholeNumber(1))
    .option(
      '--activations <scheme>',
      'also with quantized activations: dynamic, dynamic-block, static, each with [:4][:asymmetric], or bitlinear (repeatable)',
      collect,
    )
    .option('--stats <file>', 'ranges of static activations, of quantize calibrate')
    .option('--layers', "the error of each matrix's outputs against the base's")
    .option('--threads <n>', 'worker threads (default: all cores)', wholeNumber(1))
    .addOption(memoryOption())
    .addOption(gemmOption())
    .option('--quiet', 'print errors and the result only')
    .action(async (files: string[], flags: EvalFlags) => {
      const [{ evalCommand }, { evaluate }] = await Promise.all([
        import('./eval.ts'),
        import('../model-runs.ts'),
      ]);
      await evalCommand(files, flags, io, evaluate);
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

/** `quantize help [command]`; commander's own prints the whole help for a command that it does not know. */
const helpCommand = (program: Command): Command =>
  new Command('help')
    .description('print help for a command')
    .argument('[command]')
    .helpOption(false)
    .allowExcessArguments(false)
    .action((name?: string) => {
      const command = name === undefined ? program : program.commands.find((each) => each.name() === name);
      if (command !== undefined) command.help();
      const names = commandNames(program);
      const similar = closest(name!, names);
      throw new UsageError(`unknown command: ${name}`, {
        expected: names.join(', '),
        advice: similar && `did you mean 'quantize help ${similar}'?`,
      });
    });

const kernelsOption = (): Option =>
  new Option('--kernels <kind>', 'inner loops (default: auto)').choices(['auto', 'simd', 'scalar']);

const memoryOption = (): Option =>
  new Option(
    '--memory <size>',
    'memory for activations and Hessians, N(K|M|G|T) (default: half of what is free)',
  ).argParser(parseMemory);

const gemmOption = (): Option =>
  new Option(
    '--gemm <kind>',
    'matrix products: auto (the fastest there is), wasm (the same bytes on every machine), wasm-relaxed, blas or blas:PATH (default: auto)',
  ).argParser(parseGemm);

const commandNames = (program: Command): string[] => program.commands.map((command) => command.name());

/** "quantize inspcet FILE" reads as a model of that name with an argument too many. */
function excessArguments(program: Command, args: readonly string[]): UsageError {
  if (!existsSync(args[0])) refuseMistypedCommand(program, args[0]);
  return new UsageError(`too many arguments: ${args.join(' ')}`, {
    expected: 'one model',
    advice: 'run quantize once for each model',
  });
}

/** @throws UsageError when a word that is no file looks like a command. */
function refuseMistypedCommand(program: Command, word: string): void {
  const similar = closest(word, commandNames(program));
  if (similar === undefined || /[./\\]/.test(word)) return;
  throw new UsageError(`unknown command or model: ${word}`, {
    advice: `did you mean 'quantize ${similar}'?`,
  });
}

/** Options that contradict each other, beyond what the stages check. */
function requireCompatible(flags: QuantizeFlags): void {
  if (flags.quiet && flags.verbose) throw new UsageError('--quiet and --verbose contradict each other');
  if (!flags.dryRun) return;
  const asked = [
    ['--report', flags.report],
    ['--histograms', flags.histograms],
    ['--max-error', flags.maxError],
    ['--min-sqnr', flags.minSqnr],
  ].find(([, value]) => value !== undefined);
  if (asked !== undefined) {
    throw new UsageError(`--dry-run quantizes nothing, so there is no error for ${asked[0]}`, {
      advice: 'the plan as JSON: --dry-run --json',
    });
  }
}
