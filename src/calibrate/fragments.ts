import type { SpecialToken } from './vocabulary.ts';

/**
 * Cuts a text at its special tokens (`tokenizer_st_partition`): each token in turn, the longest first, wherever it
 * occurs in what is still text. Ids stand for tokens, strings for the text between.
 *
 * @param special whether control tokens count, too; otherwise only user-defined ones
 */
export function fragments(
  text: string,
  tokens: readonly SpecialToken[],
  special: boolean,
): readonly (string | number)[] {
  let parts: (string | number)[] = text === '' ? [] : [text];
  // Vocabularies have thousands of them that begin alike ("<unused"), and most texts none.
  const present = new Map<string, boolean>();
  for (const token of tokens) {
    if (token.isControl && !special) continue;
    const start = token.text.slice(0, 2);
    let isPresent = present.get(start);
    if (isPresent === undefined) present.set(start, (isPresent = text.includes(start)));
    if (!isPresent || !text.includes(token.text)) continue;
    parts = parts.flatMap((part) => (typeof part === 'string' ? [...cutAt(part, token)] : [part]));
  }
  return parts;
}

function* cutAt(text: string, token: SpecialToken): Generator<string | number> {
  let start = 0;
  for (;;) {
    const at = text.indexOf(token.text, start);
    if (at < 0) break;
    if (at > start) yield text.slice(start, at);
    yield token.id;
    start = at + token.text.length;
    if (token.trimsAfter) while (start < text.length && ' \t\n\v\f\r'.includes(text[start])) start++;
  }
  if (start < text.length) yield text.slice(start);
}
