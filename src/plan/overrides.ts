import { UsageError } from '../core/errors.ts';
import type { MetadataEntry, ScalarType, ScalarValue } from '../core/metadata.ts';

/** A key with a single value. */
export type ScalarEntry = Extract<MetadataEntry, { type: ScalarType }>;

/** The kinds of value `--override-kv` takes, and the type each is written as. */
const kinds = { int: 'UINT32', float: 'FLOAT32', bool: 'BOOL', str: 'STRING' } as const;

const forms = 'KEY=TYPE:VALUE with TYPE one of int, float, bool, str';

/**
 * What `--override-kv KEY=TYPE:VALUE` asks for, each key once. Types as llama-quantize writes them: int becomes UINT32.
 * Stricter than llama-quantize, which reads 0 out of a word and turns -1 into 1.
 *
 * @throws UsageError
 */
export function parseOverrides(texts: readonly string[]): ScalarEntry[] {
  const entries = texts.map(parseOverride);
  entries.forEach(({ key }, i) => {
    if (entries.findIndex((other) => other.key === key) === i) return;
    throw new UsageError(`--override-kv names ${key} twice`, { expected: 'every key once' });
  });
  return entries;
}

function parseOverride(text: string): ScalarEntry {
  const refuse = (expected: string, advice?: string): never => {
    throw new UsageError(`--override-kv "${text}" cannot be understood`, { expected, advice });
  };
  const match = /^([^=]+)=([^:]*):(.*)$/s.exec(text);
  if (match === null) return refuse(forms, 'for example tokenizer.ggml.add_bos_token=bool:false');
  const [, key, kind, value] = match;
  if (!Object.hasOwn(kinds, kind)) return refuse(forms);
  if (/^split\.(no|count|tensors\.count)$/.test(key)) {
    return refuse(
      'a key that describes the model',
      'split.* keys are written with the parts of a split file',
    );
  }
  const entry = {
    key,
    type: kinds[kind as keyof typeof kinds],
    value: readValue(kind, value) ?? refuse(wanted[kind]),
  };
  if (key === 'general.alignment' && !isAlignment(entry))
    refuse('int and a power of two for general.alignment');
  return entry;
}

const wanted: Readonly<Record<string, string>> = {
  int: 'a whole number from 0 to 4294967295: it is stored as UINT32',
  float: 'a finite decimal number that float32 can hold',
  bool: 'true or false',
};

/** The value of a kind, or null when the text is none. */
function readValue(kind: string, text: string): ScalarValue | null {
  const number = Number(text);
  switch (kind) {
    case 'int':
      return /^\+?\d+$/.test(text) && number <= 0xffff_ffff ? number : null;
    case 'float':
      return /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(text) && Number.isFinite(Math.fround(number))
        ? number
        : null;
    case 'bool':
      return text === 'true' ? true : text === 'false' ? false : null;
    default:
      return text;
  }
}

const isAlignment = ({ type, value }: ScalarEntry): boolean =>
  type === 'UINT32' && Number.isInteger(Math.log2(value as number));

/** Metadata with keys set as llama-quantize sets them: a key that is set again moves to the end. */
export function withOverrides(
  metadata: readonly MetadataEntry[],
  overrides: readonly ScalarEntry[],
): readonly MetadataEntry[] {
  const keys = new Set(overrides.map(({ key }) => key));
  return [...metadata.filter(({ key }) => !keys.has(key)), ...overrides];
}

/** One sentence for each key whose type an override changes. */
export function overrideWarnings(
  metadata: readonly MetadataEntry[],
  overrides: readonly ScalarEntry[],
): string[] {
  return overrides.flatMap(({ key, type }) => {
    const old = metadata.find((entry) => entry.key === key);
    if (old === undefined || old.type === type) return [];
    return [`--override-kv ${key}: the ${old.type} it was becomes ${type}, which llama.cpp may refuse`];
  });
}
