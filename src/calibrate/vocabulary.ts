import { QuantizeError } from '../core/errors.ts';
import type { MetadataEntry } from '../core/metadata.ts';

/** The model has no tokenizer, or one of a kind that cannot be run here. */
export class UnusableTokenizerError extends QuantizeError {}

/** A text that stands for one token wherever it occurs, before anything else is looked at. */
export interface SpecialToken {
  readonly id: number;
  readonly text: string;
  /** Matched only where special tokens are asked for; the others (user-defined) always. */
  readonly isControl: boolean;
  /** White space after it belongs to it. */
  readonly trimsAfter: boolean;
}

/** What `tokenizer.*` of a GGUF says, with llama.cpp's defaults where it is silent. */
export interface Vocabulary {
  /** Byte-level BPE ("gpt2"), or SentencePiece BPE with scores and byte tokens ("llama"). */
  readonly kind: 'gpt2' | 'llama';
  /** `tokenizer.ggml.pre`, "default" where absent. */
  readonly pre: string;
  /** Text of each id. */
  readonly tokens: readonly string[];
  readonly ids: ReadonlyMap<string, number>;
  /** One a token; empty for BPE. */
  readonly scores: ArrayLike<number>;
  /** "left right" in order of rank; empty for SentencePiece. */
  readonly merges: readonly string[];
  /** Longest first. */
  readonly specialTokens: readonly SpecialToken[];
  readonly bos: number | null;
  readonly eos: number | null;
  /** Stands for characters that no token has. */
  readonly unknown: number | null;
  /** Null where the file does not say and the kind or pre-tokenizer decides. */
  readonly addsBos: boolean | null;
  readonly addsEos: boolean;
  /** SentencePiece: a space goes before a text. */
  readonly addsSpace: boolean;
  readonly chatTemplate: string | null;
}

/** `enum llama_token_type`. */
const UNKNOWN = 2;
const CONTROL = 3;
const USER_DEFINED = 4;

/** Texts that llama.cpp takes for control tokens whatever type they are stored with (end of generation, `load`). */
const CONTROL_TEXTS: ReadonlySet<string> = new Set([
  ...[
    '<|eot_id|>',
    '<|im_end|>',
    '<|end|>',
    '<|return|>',
    '<|call|>',
    '<|flush|>',
    '<|calls|>',
    '<|eom_id|>',
  ],
  ...[
    '<end_of_turn>',
    '<|endoftext|>',
    '</s>',
    '<EOT>',
    '_<EOT>',
    '[EOT]',
    '[EOS]',
    '<|end_of_text|>',
    '<eos>',
  ],
  ...['<end_of_utterance>', '<turn|>', '<|tool_response>', '<｜end▁of▁sentence｜>', '[e~['],
]);

/** Texts that it takes for control tokens unless another key names the token of that purpose (fill in the middle). */
const FILL_TEXTS: readonly { readonly keys: readonly string[]; readonly texts: readonly string[] }[] = [
  {
    keys: ['fim_pre_token_id', 'prefix_token_id'],
    texts: [
      '<|fim_prefix|>',
      '<fim-prefix>',
      '<fim_prefix>',
      '<｜fim▁begin｜>',
      '<PRE>',
      '▁<PRE>',
      '<|code_prefix|>',
      '<|prefix|>',
    ],
  },
  {
    keys: ['fim_suf_token_id', 'suffix_token_id'],
    texts: [
      '<|fim_suffix|>',
      '<fim-suffix>',
      '<fim_suffix>',
      '<｜fim▁hole｜>',
      '<SUF>',
      '▁<SUF>',
      '<|code_suffix|>',
      '<|suffix|>',
    ],
  },
  {
    keys: ['fim_mid_token_id', 'middle_token_id'],
    texts: [
      '<|fim_middle|>',
      '<fim-middle>',
      '<fim_middle>',
      '<｜fim▁end｜>',
      '<MID>',
      '▁<MID>',
      '<|code_middle|>',
      '<|middle|>',
    ],
  },
  { keys: ['fim_pad_token_id'], texts: ['<|fim_pad|>', '<fim-pad>', '<fim_pad>', '<PAD>', '[PAD]'] },
  {
    keys: ['fim_rep_token_id'],
    texts: ['<|fim_repo|>', '<|repo_name|>', '<fim-repo>', '<REPO>', '<reponame>'],
  },
  { keys: ['fim_sep_token_id'], texts: ['<|file_sep|>'] },
];

/**
 * Reads the tokenizer of a plan's metadata, as `llama_vocab::impl::load` does.
 *
 * @param file the model, for messages
 * @throws UnusableTokenizerError when there is none, or none of a kind that this can run
 */
export function readVocabulary(metadata: readonly MetadataEntry[], file: string): Vocabulary {
  const values = new Map(metadata.map(({ key, value }) => [key, value]));
  const of = (key: string): unknown => values.get(`tokenizer.ggml.${key}`);
  const kind = of('model');
  const stored = of('tokens');
  if (kind === undefined || kind === 'none' || kind === 'no_vocab' || !isArray<string>(stored)) {
    throw new UnusableTokenizerError('the model has no tokenizer, without which text cannot be read', {
      file,
      expected: 'tokenizer.json or tokenizer.model beside the weights; in a GGUF, the keys tokenizer.ggml.*',
      got: kind === undefined ? 'none of them' : `tokenizer.ggml.model = ${String(kind)} without tokens`,
      advice: 'put the tokenizer files its author published into the directory',
    });
  }
  if (kind !== 'gpt2' && kind !== 'llama') {
    throw new UnusableTokenizerError('text cannot be turned into tokens with this kind of tokenizer', {
      file,
      expected: 'tokenizer.ggml.model = gpt2 (byte-level BPE) or llama (SentencePiece BPE)',
      got: `tokenizer.ggml.model = ${String(kind)}`,
      advice: 'calibrate elsewhere and pass the importance matrix by --imatrix',
    });
  }
  const tokens = Array.from(stored, (text, id) => (text === '' ? `[EMPTY_${id}]` : text));
  const array = <T>(key: string, needed: boolean, least: number): ArrayLike<T> => {
    const value = of(key) ?? [];
    if (isArray<T>(value) && (value.length >= least || (!needed && value.length === 0))) return value;
    throw new UnusableTokenizerError('the tokenizer is not complete', {
      file,
      expected: `tokenizer.ggml.${key}: ${least > 1 ? `at least ${least} items` : 'an array'}`,
      got: isArray(value) && values.has(`tokenizer.ggml.${key}`) ? `${value.length} items` : 'none',
      advice: 'convert the model anew from the files its author published',
    });
  };
  const id = (key: string, byDefault: number | null): number | null => {
    const value = of(key);
    if (typeof value === 'number' && value < tokens.length) return value;
    return byDefault !== null && byDefault < tokens.length ? byDefault : null;
  };
  const flag = (key: string): boolean | null => {
    const value = of(key);
    return typeof value === 'boolean' ? value : null;
  };
  const isBpe = kind === 'gpt2';
  const template = values.get('tokenizer.chat_template');
  const types = array<number>('token_type', false, tokens.length);
  return {
    kind,
    pre: String(of('pre') ?? 'default'),
    tokens,
    ids: new Map(tokens.map((text, token) => [text, token])),
    scores: array<number>('scores', !isBpe, tokens.length),
    merges: Array.from(array<string>('merges', isBpe, isBpe ? 1 : 0)),
    specialTokens: specialTokens(tokens, types, new Set(values.keys()), values.get('general.name')),
    bos: id('bos_token_id', isBpe ? 11 : 1),
    eos: id('eos_token_id', isBpe ? 11 : 2),
    unknown: id('unknown_token_id', isBpe ? null : 0),
    addsBos: flag('add_bos_token'),
    addsEos: flag('add_eos_token') ?? false,
    addsSpace: flag('add_space_prefix') ?? !isBpe,
    chatTemplate: typeof template === 'string' ? template : null,
  };
}

function specialTokens(
  tokens: readonly string[],
  types: ArrayLike<number>,
  keys: ReadonlySet<string>,
  name: unknown,
): SpecialToken[] {
  const control = new Set(CONTROL_TEXTS);
  for (const purpose of FILL_TEXTS) {
    if (purpose.keys.some((key) => keys.has(`tokenizer.ggml.${key}`))) continue;
    for (const text of purpose.texts) control.add(text);
  }
  // Names are all that llama.cpp goes by.
  const isPhi3 = /phi-?3/i.test(String(name ?? ''));
  const found: SpecialToken[] = [];
  for (const [id, text] of tokens.entries()) {
    const isControl = types[id] === CONTROL || types[id] === UNKNOWN || control.has(text);
    if (!isControl && types[id] !== USER_DEFINED) continue;
    const trimsAfter = isPhi3 && !['<unk>', '<s>', '<|endoftext|>'].includes(text);
    found.push({ id, text, isControl, trimsAfter });
  }
  const length = new Map(found.map(({ id, text }) => [id, Buffer.byteLength(text)]));
  return found.sort((a, b) => length.get(b.id)! - length.get(a.id)!);
}

const isArray = <T>(value: unknown): value is ArrayLike<T> =>
  Array.isArray(value) || (ArrayBuffer.isView(value) && !(value instanceof DataView));
