import type { MetadataEntry, ScalarValue } from '../core/metadata.ts';
import { printable } from '../report/format.ts';

/** Items of an array that are shown; vocabularies have 10^5. */
const SHOWN = 8;

/** A key for JSON: scalars whole, arrays by length and first items. */
export function abbreviate(entry: MetadataEntry): Record<string, unknown> {
  if (entry.type !== 'ARRAY') return { key: entry.key, type: entry.type, value: entry.value };
  return {
    key: entry.key,
    type: entry.type,
    elementType: entry.elementType,
    length: entry.value.length,
    first: Array.from<ScalarValue>(entry.value.slice(0, SHOWN)),
  };
}

/** A key's value in at most `width` characters: strings quoted, arrays as their beginning and length. */
export function describeValue(entry: MetadataEntry, width: number): string {
  if (entry.type !== 'ARRAY') return cut(describeScalar(entry.value), width);
  const length = entry.value.length;
  const tail = length > SHOWN ? `, … ${length} in all]` : ']';
  const items = Array.from<ScalarValue>(entry.value.slice(0, SHOWN)).map(describeScalar).join(', ');
  return `[${cut(items, width - tail.length - 1)}${tail}`;
}

const describeScalar = (value: ScalarValue): string =>
  typeof value === 'string' ? printable(JSON.stringify(value)) : String(value);

const cut = (text: string, width: number): string =>
  text.length <= width ? text : `${text.slice(0, width - 1)}…`;
