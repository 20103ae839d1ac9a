import { parse } from 'yaml';

/** A model card's front matter: scalars as text, and lists of scalars; what has another form is left out. */
export type ModelCard = ReadonlyMap<string, string | readonly string[]>;

/** Reads the front matter of README.md (YAML). Text that is no YAML counts as no card. */
export function readModelCard(frontMatter: string | null): ModelCard {
  const card = new Map<string, string | readonly string[]>();
  for (const [key, value] of Object.entries(parsed(frontMatter ?? ''))) {
    if (isText(value)) card.set(key, value);
    else if (Array.isArray(value)) card.set(key, value.filter(isText));
  }
  return card;
}

function parsed(text: string): object {
  try {
    // Tabs as indentation are no YAML, but cards have them; gguf-py replaces them too. The failsafe schema leaves
    // scalars as they are written: a version "1.0" is no number.
    const value: unknown = parse(text.replaceAll('\t', '  '), { schema: 'failsafe', logLevel: 'silent' });
    return typeof value === 'object' && value !== null ? value : {};
  } catch {
    return {};
  }
}

const isText = (value: unknown): value is string => typeof value === 'string' && !/^(~|null|)$/i.test(value);
