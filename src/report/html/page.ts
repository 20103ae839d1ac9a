import { html, Markup } from './markup.ts';
import { styles } from './styles.ts';

/** How every page begins; a file that does may be replaced by another report. */
const PAGE_START = '<!doctype html>\n<!-- gguf-quantize/report -->';

/**
 * A whole page in one text. It has no script, and its policy forbids whatever would have to be fetched.
 *
 * `version` is that of this package, for the footer.
 */
export function renderPage(title: string, body: Markup, version: string): string {
  const page = html`<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,">
<title>${title}</title>
<style>${new Markup(styles)}</style>
</head>
<body>
<main>
${body}
<footer>Made by gguf-quantize ${version}. Every figure is defined in its docs/report.md or docs/activations.md.</footer>
</main>
</body>
</html>
`;
  return `${PAGE_START}\n${page.text}`;
}

/** A section with its heading and, under it, what the reader has to know. */
export const section = (title: string, intro: string | null, content: Markup): Markup => html`<section>
<h2>${title}</h2>
${intro === null ? null : html`<p class="soft">${intro}</p>`}
${content}
</section>`;

/** Something wider than a narrow screen, which then scrolls alone. */
export const scrolling = (label: string, content: Markup): Markup =>
  html`<div class="scroll" tabindex="0" role="region" aria-label="${label}">${content}</div>`;

export interface Column {
  readonly head: string;
  /** Numbers stand to the right. */
  readonly number?: boolean;
}

/** A table whose first column names the rows; it has one row at least. */
export const table = (
  label: string,
  columns: readonly Column[],
  rows: readonly (readonly (string | Markup)[])[],
): Markup =>
  scrolling(
    label,
    html`<table class="list"><thead><tr>${columns.map(({ head, number }) =>
      number ? html`<th scope="col" class="num">${head}</th>` : html`<th scope="col">${head}</th>`,
    )}</tr></thead>
<tbody>${rows.map(
      ([first, ...cells]) =>
        html`<tr><th scope="row">${first}</th>${cells.map((cell, i) =>
          columns[i + 1].number ? html`<td class="num">${cell}</td>` : html`<td>${cell}</td>`,
        )}</tr>
`,
    )}</tbody></table>`,
  );

/** A long table, folded. */
export const folded = (summary: string, content: Markup): Markup =>
  html`<details><summary>${summary}</summary>${content}</details>`;

/** A share of a whole, 0 to 1, beside its figure. */
export const bar = (share: number): Markup =>
  html`<span class="bar" aria-hidden="true"><i style="width:${(100 * share).toFixed(1)}%"></i></span>`;

/** Names and values. */
export const facts = (items: readonly (readonly [string, string | Markup])[]): Markup =>
  html`<dl class="facts">${items.map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}</dl>`;
