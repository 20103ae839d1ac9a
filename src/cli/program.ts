import { existsSync } from 'node:fs';
import { Command } from 'commander';
import { UsageError } from '../core/errors.ts';
import { closest } from '../core/suggest.ts';
import { version } from '../core/version.ts';
import { addCommands } from './commands.ts';
import type { Io } from './io.ts';
import { type QuantizeFlags, requireCompatible } from './options.ts';
import { addQuantizeOptions } from './quantize-options.ts';
import { MODEL } from './shared-options.ts';

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

  program.usage('<model> [options]').argument('<model>', MODEL);
  program.allowExcessArguments(); // refused below, with the likely mistake
  return addQuantizeOptions(program)
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
