/** A strict reading of HTML: what browsers forgive is an error here. */
export interface ParsedHtml {
  readonly elements: readonly { readonly name: string; readonly attributes: ReadonlyMap<string, string> }[];
  /** All text, entities decoded, style sheets left out. */
  readonly text: string;
}

const voids = new Set(['wbr', 'meta', 'link', 'br', 'hr', 'img', 'path']);
const entities: Record<string, string> = {
  amp: '&',
  lt: '<',
  gt: '>',
  quot: '"',
  '#39': "'",
};

const decode = (text: string): string =>
  text.replace(/&([^;\s]*);?/g, (whole, name: string) => {
    if (entities[name] === undefined || !whole.endsWith(';')) throw new Error(`odd entity ${whole}`);
    return entities[name];
  });

/**
 * Reads a page in which every element is closed in its place and every attribute is quoted and given once.
 *
 * @throws Error for anything else
 */
export function parseHtml(page: string): ParsedHtml {
  const elements: { name: string; attributes: Map<string, string> }[] = [];
  const open: string[] = [];
  let text = '';
  const start = '<!doctype html>\n';
  if (!page.startsWith(start)) throw new Error('no doctype');
  for (let at = start.length; at < page.length; ) {
    const next = page.indexOf('<', at);
    if (open.at(-1) === 'style') {
      at = page.indexOf('</style>', at);
    } else if (next !== at) {
      const piece = page.slice(at, next < 0 ? page.length : next);
      if (piece.includes('>')) throw new Error(`a loose > in ${piece}`);
      text += decode(piece);
      at += piece.length;
      continue;
    }
    if (page.startsWith('<!--', at)) {
      at = page.indexOf('-->', at) + 3;
      continue;
    }
    const closing = /^<\/([a-z0-9]+)>/.exec(page.slice(at, at + 40));
    if (closing !== null) {
      const expected = open.pop();
      if (closing[1] !== expected) throw new Error(`</${closing[1]}> where ${expected} is open`);
      at += closing[0].length;
      continue;
    }
    const tag = /^<([a-z0-9]+)((?: [a-zA-Z-]+="[^"<]*")*)(\/?)>/.exec(page.slice(at, at + 20_000));
    if (tag === null) throw new Error(`no tag: ${page.slice(at, at + 80)}`);
    const attributes = new Map<string, string>();
    for (const [, name, value] of tag[2].matchAll(/ ([a-zA-Z-]+)="([^"]*)"/g)) {
      if (attributes.has(name)) throw new Error(`${name} twice in ${tag[0]}`);
      attributes.set(name, decode(value));
    }
    elements.push({ name: tag[1], attributes });
    if (!voids.has(tag[1])) open.push(tag[1]);
    at += tag[0].length;
  }
  if (open.length > 0) throw new Error(`not closed: ${open.join(', ')}`);
  return { elements, text };
}
