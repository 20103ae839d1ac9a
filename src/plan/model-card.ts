/** A model card's front matter: scalars as text, lists of scalars; what has another form is left out. */
export type ModelCard = ReadonlyMap<string, string | readonly string[]>;

/**
 * A model card's front matter (without its `---` lines), read as the subset of YAML that model cards use: top-level
 * keys with plain, quoted or block scalars, and lists of them in either notation. Nested mappings are skipped.
 */
export function readModelCard(frontMatter: string | null): ModelCard {
  const card = new Map<string, string | readonly string[]>();
  const body = (frontMatter ?? '').split(/\r?\n/).map((line) => line.replaceAll('\t', '  '));

  for (let i = 0; i < body.length; i++) {
    const match = /^("[^"]*"|'[^']*'|[\w.][\w. -]*?)\s*:(?:\s+(.*))?$/.exec(body[i]);
    if (match === null) continue;
    // What belongs to this key: lines indented deeper, and list items, which may stand at its own indentation.
    const nested: string[] = [];
    while (i + 1 < body.length && /^(\s|-\s|-$|#|$)/.test(body[i + 1])) nested.push(body[++i]);
    const value = readValue((match[2] ?? '').trim(), nested);
    if (value !== null) card.set(unquoted(match[1]), value);
  }
  return card;
}

function readValue(inline: string, nested: readonly string[]): string | readonly string[] | null {
  const text = withoutComment(inline);
  if (/^[|>]/.test(text)) return blockScalar(text, nested);
  if (text.startsWith('[')) return flowList([text, ...nested.map((line) => line.trim())].join(' '));
  if (text.startsWith('{') || text.startsWith('&') || text.startsWith('*')) return null;
  if (text !== '') {
    const more = nested.map((line) => line.trim()).filter((line) => line !== '' && !line.startsWith('#'));
    return scalar([text, ...more].join(' '));
  }
  const content = nested.filter((line) => line.trim() !== '' && !line.trim().startsWith('#'));
  if (content.length === 0 || !content[0].trim().startsWith('-')) return null;
  const indent = content[0].length - content[0].trimStart().length;
  const items: string[] = [];
  for (const line of content) {
    const depth = line.length - line.trimStart().length;
    const item = /^-\s+(.*)$/.exec(line.trim());
    if (depth !== indent || item === null) continue; // inside an item that is a mapping
    const isMapping = /^[\w.-]+:(\s|$)/.test(item[1]);
    const value = isMapping ? null : scalar(withoutComment(item[1]));
    if (value !== null) items.push(value);
  }
  return items;
}

function scalar(text: string): string | null {
  return /^(~|null|)$/i.test(text) ? null : unquoted(text);
}

function unquoted(text: string): string {
  if (text.startsWith("'") && text.endsWith("'") && text.length > 1) {
    return text.slice(1, -1).replaceAll("''", "'");
  }
  if (text.startsWith('"') && text.endsWith('"') && text.length > 1) {
    try {
      return JSON.parse(text) as string;
    } catch {
      return text.slice(1, -1);
    }
  }
  return text;
}

/** Without a comment, which starts at a # that follows a space outside quotes. */
function withoutComment(text: string): string {
  const match = /^("(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|(?!["'])(?:(?!\s#).)*)/.exec(text);
  return (match === null ? text : match[1]).trim();
}

function flowList(text: string): readonly string[] | null {
  const close = text.lastIndexOf(']');
  if (close < 0) return null;
  const items = text.slice(1, close).match(/\s*"(?:[^"\\]|\\.)*"|\s*'(?:[^']|'')*'|[^,]+/g) ?? [];
  return items.flatMap((item) => scalar(item.trim()) ?? []);
}

function blockScalar(header: string, nested: readonly string[]): string {
  const first = nested.find((line) => line.trim() !== '') ?? '';
  const indent = first.length - first.trimStart().length;
  const lines = nested.map((line) => line.slice(indent));
  while (lines.length > 0 && lines.at(-1)!.trim() === '') lines.pop();
  const text = header.startsWith('|') ? lines.join('\n') : lines.join(' ');
  return header.includes('-') ? text : `${text}\n`;
}
