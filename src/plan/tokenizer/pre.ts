import { QuantizeError } from '../../core/errors.ts';
import type { JsonObject, JsonValue, ModelFiles } from '../../core/model-files.ts';
import { asObject, asString, objectsIn, tokenText } from '../json.ts';

/** tokenizer.json splits text in a way that no pre-tokenizer of llama.cpp is known to. */
export class UnknownPreTokenizerError extends QuantizeError {}

/** What ByteLevel splits by when it is asked to: GPT-2's expression. */
const GPT2 = String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`;
const CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const SPACES = String.raw`\s*[\r\n]+|\s+(?!\S)|\s+`;
const words = (digits: string) =>
  String.raw`[^\r\n\p{L}\p{N}]?\p{L}+|${digits}| ?[^\s\p{L}\p{N}]+[\r\n]*|${SPACES}`;
const LOWER_END = String.raw`[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+`;
const UPPER_START = String.raw`[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*`;
const OTHERS = String.raw` ?[^\s\p{L}\p{N}]+[\r\n/]*|${SPACES}`;

interface PreTokenizer {
  /** Name in llama.cpp (llama-vocab.cpp), whose expressions these steps must equal. */
  readonly name: string;
  /** The canonical steps of `stepsOf`. */
  readonly steps: readonly string[];
  /** Set when llama.cpp's tokenizer of this name ignores merges for words that are tokens, or never does. */
  readonly ignoreMerges?: boolean;
  /** Text of the bos token, for names that differ in nothing else. */
  readonly bos?: string;
  /** llama.cpp prepends bos under this name unless told otherwise. */
  readonly addsBos?: boolean;
}

/** In order: the first that fits. */
const preTokenizers: readonly PreTokenizer[] = [
  { name: 'gpt-2', steps: [`split ${GPT2}`, 'bytes'] },
  {
    name: 'llama-bpe',
    steps: [`split ${CONTRACTIONS}|${words(String.raw`\p{N}{1,3}`)}`, 'bytes'],
    ignoreMerges: true,
    addsBos: true,
  },
  {
    name: 'smaug-bpe',
    steps: [`split ${CONTRACTIONS}|${words(String.raw`\p{N}{1,3}`)}`, 'bytes'],
    ignoreMerges: false,
  },
  {
    name: 'deepseek-r1-qwen',
    steps: [`split ${CONTRACTIONS}|${words(String.raw`\p{N}`)}`, 'bytes'],
    bos: '<｜begin▁of▁sentence｜>',
  },
  { name: 'qwen2', steps: [`split ${CONTRACTIONS}|${words(String.raw`\p{N}`)}`, 'bytes'] },
  {
    name: 'tekken',
    steps: [`split ${LOWER_END}|${UPPER_START}|${String.raw`\p{N}`}|${OTHERS}`, 'bytes'],
    addsBos: true,
  },
  {
    name: 'gpt-4o',
    steps: [
      `split ${LOWER_END}${CONTRACTIONS}?|${UPPER_START}${CONTRACTIONS}?|${String.raw`\p{N}{1,3}`}|${OTHERS}`,
      'bytes',
    ],
  },
  { name: 'smollm', steps: ['digits', `split ${GPT2}`, 'bytes'] },
  {
    name: 'seed-coder',
    steps: [
      String.raw`split ${CONTRACTIONS}|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|${SPACES}`,
      'bytes',
    ],
  },
  {
    name: 'deepseek-coder',
    steps: [
      String.raw`split [\r\n]`,
      String.raw`split \s?\p{L}+`,
      String.raw`split \s?\p{P}+`,
      'split [一-龥ࠀ-一가-퟿]+',
      'digits',
      'bytes',
    ],
  },
  {
    name: 'deepseek-v3',
    steps: [
      String.raw`split \p{N}{1,3}`,
      'split [一-龥぀-ゟ゠-ヿ]+',
      String.raw`split [!"#$%&'()*+,\-./:;<=>?@\[\\\]^_${'`'}{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|${SPACES}`,
      'bytes',
    ],
  },
];

/** Control characters in an expression as escapes, which some files write and others do not. */
const canonical = (expression: string): string =>
  expression.replaceAll('\r', '\\r').replaceAll('\n', '\\n').replaceAll('\t', '\\t');

/**
 * A pre-tokenizer as a list of steps in one notation, so that the several ways of writing the same one agree:
 * `split EXPRESSION` isolates every match, `digits` every digit, and `bytes` maps bytes to characters.
 */
function stepsOf(value: JsonValue | undefined): string[] {
  const pre = asObject(value);
  if (pre === null) return [];
  switch (pre.type) {
    case 'Sequence':
      return objectsIn(pre.pretokenizers).flatMap(stepsOf);
    case 'ByteLevel': {
      if (pre.add_prefix_space === true) return ['bytes after a prefixed space'];
      return pre.use_regex === false ? ['bytes'] : [`split ${GPT2}`, 'bytes'];
    }
    case 'Digits':
      return [pre.individual_digits === true ? 'digits' : 'digits in groups'];
    case 'Split': {
      const expression = canonical(asString(asObject(pre.pattern)?.Regex) ?? JSON.stringify(pre.pattern));
      const isolates = pre.behavior === 'Isolated' && pre.invert !== true;
      // Keeping only the matches of an expression that matches everything isolates them, too.
      const keepsAll =
        pre.behavior === 'Removed' && pre.invert === true && expression.endsWith(String.raw`|\s+`);
      return [isolates || keepsAll ? `split ${expression}` : `split (${pre.behavior}) ${expression}`];
    }
    default:
      return [String(pre.type)];
  }
}

/** Normalizers that llama.cpp does not apply, which a converted file can do without, or null: none of these. */
function unsupportedNormalizer(value: JsonValue | undefined): string | null {
  const normalizer = asObject(value);
  if (normalizer === null || normalizer.type === 'NFC') return null;
  if (normalizer.type === 'Sequence') {
    return (
      objectsIn(normalizer.normalizers)
        .map(unsupportedNormalizer)
        .find((one) => one !== null) ?? null
    );
  }
  return String(normalizer.type);
}

/**
 * `tokenizer.ggml.pre` for a byte-level tokenizer.json, recognised from its own definition: normalizer,
 * pre-tokenizer, and whether merges are ignored. (The official converter knows tokenizers by a hash of the ids
 * they give to a text, and refuses a vocabulary it has not met.)
 *
 * @throws UnknownPreTokenizerError with the steps that were found
 */
export function preTokenizerName(files: ModelFiles, tokenizer: JsonObject, file: string): string {
  const steps = stepsOf(tokenizer.pre_tokenizer);
  const normalizer = unsupportedNormalizer(tokenizer.normalizer);
  const model: JsonObject = asObject(tokenizer.model) ?? {};
  const affix = model.continuing_subword_prefix || model.end_of_word_suffix;
  const bos = tokenText(files.tokenizerConfig?.bos_token);
  const found = preTokenizers.find(
    (candidate) =>
      candidate.steps.length === steps.length &&
      candidate.steps.every((step, i) => step === steps[i]) &&
      (candidate.ignoreMerges === undefined || candidate.ignoreMerges === (model.ignore_merges === true)) &&
      (candidate.bos === undefined || candidate.bos === bos),
  );
  if (found !== undefined && normalizer === null && !affix) return found.name;
  throw new UnknownPreTokenizerError(
    'the way this tokenizer splits text is not one that llama.cpp is known to have',
    {
      file,
      expected: `the steps of one of: ${preTokenizers.map(({ name }) => name).join(', ')}`,
      got: [
        ...(normalizer === null ? [] : [`normalizer ${normalizer}`]),
        ...(affix ? [`pieces marked ${JSON.stringify(affix)}`] : []),
        ...steps.map((step) => (step.length > 160 ? `${step.slice(0, 160)}...` : step)),
      ].join('; '),
      advice: 'name the pre-tokenizer of llama.cpp that equals it, if there is one, by --tokenizer-pre',
    },
  );
}

/** Whether llama.cpp prepends bos under this name when the file does not say. */
export const addsBosByDefault = (name: string): boolean =>
  preTokenizers.some((candidate) => candidate.name === name && candidate.addsBos === true);
