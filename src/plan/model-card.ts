import { parse } from 'yaml';

/** A model card's front matter: scalars as text, and lists of scalars; what has another form is left out. */
export type ModelCard = ReadonlyMap<string, string | readonly string[]>;

/** Reads the front matter of README.md. YAML 1.1, as gguf-py's loader; text that is no YAML counts as no card. */
export function readModelCard(frontMatter: string | null): ModelCard {
  const card = new Map<string, string | readonly string[]>();
  for (const [key, value] of Object.entries(parsed(frontMatter ?? ''))) {
    if (isScalar(value)) card.set(key, String(value));
    else if (Array.isArray(value)) card.set(key, value.filter(isScalar).map(String));
  }
  return card;
}

function parsed(text: string): object {
  try {
    // Tabs as indentation are no YAML, but cards have them; gguf-py replaces them too.
    const value: unknown = parse(text.replaceAll('\t', '  '), { version: '1.1', logLevel: 'silent' });
    return typeof value === 'object' && value !== null ? value : {};
  } catch {
    return {};
  }
}

const isScalar = (value: unknown): boolean =>
  typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean';
