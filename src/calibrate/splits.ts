/**
 * How llama.cpp cuts text into words before byte-level BPE merges their bytes, by `tokenizer.ggml.pre`.
 *
 * Each expression in turn cuts the pieces that those before it left: every match is a piece, and what lies between.
 * \s is Unicode's White_Space.
 */
export interface Splitting {
  readonly expressions: readonly string[];
  /** A word that is a token is taken whole, whatever its merges. */
  readonly ignoreMerges: boolean;
  /** BOS goes before a text unless the file says otherwise. */
  readonly addsBos: boolean;
}

/** llama.cpp writes case out; (?i:s) would also match U+017F. */
const CONTRACTION = `(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])`;
const SPACES = String.raw`\s*[\r\n]+|\s+(?!\S)|\s+`;
const WORD = String.raw`[^\r\n\p{L}\p{N}]?\p{L}+`;
const GPT2 = String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)`;
const OTHERS = String.raw` ?[^\s\p{L}\p{N}]+[\r\n]*`;

const like = (digits: string, contraction = `${CONTRACTION}|`): string =>
  `${contraction}${WORD}|${digits}|${OTHERS}|${SPACES}`;

/** llama.cpp tells case apart in ASCII only: other letters end a word as well as begin one. */
const LOWER_END = String.raw`[^\r\n\p{L}\p{N}]?(?:(?=\p{L})[^a-z])*(?:(?=\p{L})[^A-Z])+`;
const UPPER_START = String.raw`[^\r\n\p{L}\p{N}]?(?:(?=\p{L})[^a-z])+(?:(?=\p{L})[^A-Z])*`;
const cased = (contraction: string, digits: string): string =>
  String.raw`${LOWER_END}${contraction}|${UPPER_START}${contraction}|${digits}| ?[^\s\p{L}\p{N}]+[\r\n/]*|${SPACES}`;

const MARKED_WORDS = String.raw`[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_${'`'}{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|${SPACES}`;

interface Family {
  readonly names: readonly string[];
  readonly expressions: readonly string[];
  readonly ignoreMerges?: true;
  readonly addsBos?: true;
}

const families: readonly Family[] = [
  {
    names: [
      ...['llama-bpe', 'llama3', 'llama-v3', 'falcon3', 'falcon-h1', 'pixtral', 'midm-2.0', 'lfm2'],
      'jina-v5-nano',
    ],
    expressions: [like(String.raw`\p{N}{1,3}`)],
    ignoreMerges: true,
    addsBos: true,
  },
  { names: ['smaug-bpe', 'dbrx', 'glm4', 'chatglm-bpe'], expressions: [like(String.raw`\p{N}{1,3}`)] },
  {
    names: [
      ...['qwen2', 'deepseek-r1-qwen', 'kormo', 'f2llmv2', 'megrez', 'stablelm2', 'hunyuan', 'solar-open'],
      'grok-2',
    ],
    expressions: [like(String.raw`\p{N}`)],
  },
  {
    names: ['qwen35'],
    expressions: [
      String.raw`${CONTRACTION}|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|${SPACES}`,
    ],
  },
  { names: ['ufakzeka'], expressions: [like(String.raw`\p{N}`, '')] },
  { names: ['tekken'], expressions: [cased('', String.raw`\p{N}`)], ignoreMerges: true, addsBos: true },
  {
    names: ['gpt-4o', 'llama4', 'kanana2', 'talkie', 'minimax-m2'],
    expressions: [cased(`${CONTRACTION}?`, String.raw`\p{N}{1,3}`)],
  },
  {
    names: [
      ...[
        'gpt-2',
        'phi-2',
        'jina-es',
        'jina-de',
        'gigachat',
        'jina-v2-es',
        'jina-v2-de',
        'a.x-4.0',
        'mellum',
      ],
      ...['modern-bert', 'jina-v1-en', 'jina-v2-code', 'roberta-bpe', 'mpt', 'olmo', 'jais', 'exaone4'],
      ...['trillion', 'granite-docling'],
    ],
    expressions: [GPT2],
  },
  {
    names: ['smollm', 'starcoder', 'refact', 'command-r', 'codeshell', 'exaone', 'minerva-7b', 'mellum2'],
    expressions: [String.raw`\p{N}`, GPT2],
  },
  {
    names: ['seed-coder'],
    expressions: [String.raw`${CONTRACTION}|${WORD}|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|${SPACES}`],
  },
  {
    names: ['bailingmoe', 'bailingmoe2', 'llada-moe'],
    expressions: [
      String.raw`'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|${WORD}|\p{N}|${OTHERS}|\s*[\r\n]|\s+(?!\S)|\s+`,
    ],
  },
  {
    names: ['deepseek-coder'],
    expressions: [
      String.raw`[\r\n]`,
      String.raw`\s?\p{L}+`,
      String.raw`\s?\p{P}+`,
      '[一-龥ࠀ-一가-퟿]+',
      String.raw`\p{N}`,
    ],
  },
  {
    names: ['deepseek-v3', 'hunyuan-dense', 'joyai-llm', 'hy_v4'],
    expressions: [String.raw`\p{N}{1,3}`, '[一-龥぀-ゟ゠-ヿ]+', MARKED_WORDS],
  },
  {
    names: ['minicpm5'],
    expressions: [String.raw`\p{N}{1,3}`, like(String.raw`\p{N}+`)],
    ignoreMerges: true,
  },
  {
    names: ['falcon'],
    expressions: [String.raw`[\p{P}\$\+<=>\^~\|${'`'}]+`, GPT2, '[0-9][0-9][0-9]'],
  },
  {
    names: ['default'],
    expressions: [String.raw`[\p{P}\$\+<=>\^~\|]+`, GPT2, String.raw`\p{N}+`, '[0-9][0-9][0-9]'],
  },
];

const byName = new Map(
  families.flatMap(({ names, expressions, ignoreMerges = false, addsBos = false }) =>
    names.map((name): [string, Splitting] => [name, { expressions, ignoreMerges, addsBos }]),
  ),
);

/** Every `tokenizer.ggml.pre` known here, llama.cpp's names. */
export const splittingNames: readonly string[] = [...byName.keys()];

/** The splitting of that name, or undefined where it is not known. */
export const splittingNamed = (name: string): Splitting | undefined => byName.get(name);
