/** Parts of a model's name such as `meta-llama/Llama-2-7b-chat-hf`. */
export interface NameParts {
  readonly fullName: string | null;
  readonly organization: string | null;
  readonly basename: string | null;
  readonly finetune: string | null;
  readonly version: string | null;
  readonly sizeLabel: string | null;
}

type Kind = 'basename' | 'sizeLabel' | 'finetune' | 'version' | 'type';

const isDigit = (character: string | undefined): boolean => character !== undefined && /\d/.test(character);

/** Words with a capital first letter, but acronyms and version numbers as they are (`Metadata.id_to_title`). */
export function titleOf(name: string): string {
  return name
    .trim()
    .replaceAll('-', ' ')
    .split(/\s+/)
    .filter((word) => word !== '')
    .map((word) => (isLower(word) && !/^(v\d+(\.\d+)*|\d.*)$/.test(word) ? capitalised(word) : word))
    .join(' ');
}

const isLower = (word: string): boolean => word === word.toLowerCase() && word !== word.toUpperCase();

/** Python's `str.title()` of a lower-case word: a letter that follows no letter becomes a capital. */
function capitalised(word: string): string {
  let afterLetter = false;
  return Array.from(word, (character) => {
    const isLetter = character.toLowerCase() !== character.toUpperCase();
    const out = isLetter && !afterLetter ? character.toUpperCase() : character;
    afterLetter = isLetter;
    return out;
  }).join('');
}

/**
 * Splits a model's name at its hyphens and guesses what each part is. A size such as `7B` counts as one only when
 * it is near the true number of parameters; otherwise it is more likely a context length.
 * Must agree with `Metadata.get_model_id_components` of gguf-py.
 *
 * @param parameters number of weights in the checkpoint
 */
export function nameParts(id: string, parameters: number): NameParts {
  const nothing = { basename: null, finetune: null, version: null, sizeLabel: null };
  if (id.includes(' ')) return { fullName: id, organization: null, ...nothing }; // a sentence, not a name

  const slash = id.indexOf('/');
  let organization = slash >= 0 ? id.slice(0, slash) : null;
  const fullName = slash >= 0 ? id.slice(slash + 1) : id;
  if (organization?.startsWith('.')) organization = null;

  const texts = fullName.split('-').filter((text) => text !== '');
  const parts = texts.map((text, i) => kindOf(text, i, parameters));

  // Sizes in words give way to sizes in numbers.
  const sized = parts.filter(({ kinds }) => kinds.has('sizeLabel'));
  if (sized.some(({ text }) => /\d/.test(text))) {
    for (const { text, kinds } of sized) if (/^\p{L}+$/u.test(text)) kinds.delete('sizeLabel');
  }

  // The name proper is what comes before the first part of another kind.
  let atStart = true;
  for (const { text, kinds } of parts) {
    if (atStart && ((kinds.size === 0 && /^\p{L}/u.test(text)) || kinds.has('version'))) {
      kinds.add('basename');
    } else {
      atStart = false;
      if (kinds.size === 0) kinds.add('finetune');
    }
  }
  // A version at its end is not part of it.
  for (const { kinds } of parts.toReversed()) {
    if (!kinds.has('basename') || kinds.size < 2) break;
    kinds.delete('basename');
  }

  const textOf = (wanted: (kinds: ReadonlySet<Kind>) => boolean) =>
    parts.filter(({ kinds }) => wanted(kinds)).map(({ text }) => text);
  const joined = (texts: string[]) => texts.join('-') || null;
  const sizeLabel = joined([...new Set(textOf((kinds) => kinds.has('sizeLabel')))]);
  const finetune = joined(textOf((kinds) => kinds.has('finetune')));
  const version = joined(textOf((kinds) => kinds.has('version') && !kinds.has('basename')));
  const isPlain = sizeLabel === null && finetune === null && version === null;
  const basename = isPlain ? null : joined(textOf((kinds) => kinds.has('basename')));
  return { fullName, organization, basename, finetune, version, sizeLabel };
}

function kindOf(part: string, position: number, parameters: number): { text: string; kinds: Set<Kind> } {
  if (/^(v|iter)?\d+(\.\d+)*$/i.test(part)) return { text: part, kinds: new Set(['version']) };
  if (/^(i?q\d(_\w)*|b?fp?(16|32))$/i.test(part)) {
    return { text: part.toUpperCase(), kinds: new Set(['type']) };
  }
  if (position === 0) return { text: part, kinds: new Set() };
  if (/^((A|\d+x)?\d+([._]\d+)?[KMBT]\d?|small|mini|medium|large|x?xl)$/i.test(part)) {
    return sizeOrContext(part.replaceAll('_', '.'), parameters);
  }
  const isFinetune = /^(chat|instruct|vision|lora)$/i.test(part);
  return { text: part, kinds: new Set(isFinetune ? (['finetune'] as const) : []) };
}

function sizeOrContext(part: string, parameters: number): { text: string; kinds: Set<Kind> } {
  let text = part;
  // "7b1" means 7.1b
  if (isDigit(text.at(-1))) text = `${text.slice(0, -2)}.${text.at(-1)}${text.at(-2)}`;
  if (isDigit(text.at(-2)) && 'kmbt'.includes(text.at(-1)!)) {
    text = text.slice(0, -1) + text.at(-1)!.toUpperCase();
  }
  const number = text.slice(0, -1);
  if (parameters > 0 && /^\d+(\.\d+)?$/.test(number)) {
    const size = Number(number) * 1000 ** ' KMBT'.indexOf(text.at(-1)!);
    if (Math.abs(size - parameters) > Math.floor((7 * parameters) / 8)) {
      return { text: number + text.at(-1)!.toLowerCase(), kinds: new Set(['finetune']) };
    }
  }
  return { text, kinds: new Set(['sizeLabel']) };
}
