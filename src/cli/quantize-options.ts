import { type Command, Option } from 'commander';
import { rangeMethods } from '../core/activations.ts';
import { roundings } from '../core/calibration.ts';
import {
  collect,
  decimal,
  parseLayers,
  parsePart,
  parseSplitSize,
  parseTensorType,
  wholeNumber,
} from './options.ts';
import {
  activationsOption,
  chunkSizeOption,
  contextOption,
  gemmOption,
  kernelsOption,
  memoryOption,
  seedOption,
  statsOption,
  threadsOption,
} from './shared-options.ts';

/** Adds the options of the main command, in the groups and the order of its help: `QuantizeFlags`. */
export const addQuantizeOptions = (command: Command): Command =>
  command
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
    .addOption(contextOption())
    .addOption(seedOption())
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
    .addOption(activationsOption())
    .addOption(statsOption())
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
    .addOption(threadsOption())
    .addOption(chunkSizeOption())
    .addOption(kernelsOption());
