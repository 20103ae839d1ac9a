import { existsSync, readFileSync, writeFileSync } from 'node:fs';

/**
 * Writes a table into a document, between `<!-- table:NAME -->` and the next `<!-- end -->`. A document without that
 * place gets it at its end; a document that is not there is made.
 *
 * @param {string} path
 * @param {string} name
 * @param {string} table
 */
export function replaceTable(path, name, table) {
  const text = existsSync(path) ? readFileSync(path, 'utf8') : '# GPTQ\n';
  const [open, close] = [`<!-- table:${name} -->`, '<!-- end -->'];
  const filled = `${open}\n${table}\n${close}`;
  const start = text.indexOf(open);
  const end = text.indexOf(close, start);
  if (start >= 0 && end < 0) throw new Error(`${path}: no ${close} after ${open}`);
  const changed =
    start < 0
      ? `${text.trimEnd()}\n\n${filled}\n`
      : text.slice(0, start) + filled + text.slice(end + close.length);
  writeFileSync(path, changed);
}
