import { Environment, Interpreter, Template } from '@huggingface/jinja';
import { QuantizeError } from '../core/errors.ts';
import type { JsonValue } from '../core/model-files.ts';

/** The model's chat template cannot be read, or does not take a conversation. */
export class ChatTemplateError extends QuantizeError {}

/**
 * What `strftime_now` says in a template: always Friday, 26 July 2024, noon, for equal runs must see equal text. (That
 * date is what Llama's own template has where no clock is given.)
 */
const CLOCK: Readonly<Record<string, string>> = {
  ...{
    '%Y': '2024',
    '%y': '24',
    '%m': '07',
    '%d': '26',
    '%B': 'July',
    '%b': 'Jul',
    '%A': 'Friday',
    '%a': 'Fri',
  },
  ...{ '%H': '12', '%I': '12', '%p': 'PM', '%M': '00', '%S': '00', '%%': '%' },
};

/** Turns conversations into text as the model was trained to see them (`tokenizer.chat_template`, Jinja). */
export class ChatTemplate {
  readonly #source: string;
  readonly #globals: Readonly<Record<string, unknown>>;
  #template: Template | undefined;

  /**
   * @param source the template
   * @param bos text of the token that begins a text, empty where there is none
   * @param eos text of the one that ends it
   */
  constructor(source: string, bos: string, eos: string) {
    this.#source = source;
    this.#globals = {
      ...{ true: true, false: false, none: null, True: true, False: false, None: null },
      bos_token: bos,
      eos_token: eos,
      add_generation_prompt: false,
      range,
      raise_exception: (message: string) => {
        throw new Error(message);
      },
      strftime_now: (format: string) => format.replace(/%./g, (code) => CLOCK[code] ?? code),
    };
  }

  /**
   * The text of one conversation, no reply asked for; special tokens are in it as text.
   *
   * @param messages objects with `role` and `content`
   * @param more what else the template may ask for, such as `tools`
   * @param where file and line, for messages
   * @throws ChatTemplateError
   */
  render(
    messages: readonly JsonValue[],
    more: Readonly<Record<string, JsonValue | undefined>>,
    where: string,
  ): string {
    try {
      this.#template ??= new Template(this.#source);
      const environment = new Environment();
      for (const [name, value] of Object.entries({ ...more, ...this.#globals, messages })) {
        environment.set(name, value);
      }
      return String(new Interpreter(environment).run(this.#template.parsed).value);
    } catch (cause) {
      throw new ChatTemplateError("the model's chat template does not take this conversation", {
        file: where,
        expected: '"messages": a list of {"role", "content"} that tokenizer.chat_template accepts',
        got: cause instanceof Error ? cause.message : String(cause),
        advice: 'correct the conversation, or give plain text in a field "text"',
        cause,
      });
    }
  }
}

/** Python's: up to `stop`, or from `start` up to `stop` in steps. */
function range(start: number, stop?: number, step = 1): number[] {
  const [from, to] = stop === undefined ? [0, start] : [start, stop];
  const count = Math.max(0, Math.ceil((to - from) / step));
  return Array.from({ length: count }, (_, i) => from + i * step);
}
