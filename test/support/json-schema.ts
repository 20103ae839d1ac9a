/** The part of JSON Schema that docs/report.schema.json uses. */
export interface Schema {
  $ref?: string;
  $defs?: Record<string, Schema>;
  type?: string | string[];
  const?: unknown;
  minimum?: number;
  maximum?: number;
  required?: string[];
  properties?: Record<string, Schema>;
  additionalProperties?: boolean;
  items?: Schema;
}

const known = new Set(
  '$schema title description $ref $defs type const minimum maximum required properties additionalProperties items'.split(
    ' ',
  ),
);

/** What of a value contradicts a schema, as "path: problem"; empty when nothing does. */
export function violations(value: unknown, schema: Schema, root = schema, path = '$'): string[] {
  const strange = Object.keys(schema).filter((keyword) => !known.has(keyword));
  if (strange.length > 0) throw new Error(`this check does not know ${strange.join(', ')}`);
  if (schema.$ref !== undefined) {
    return violations(value, root.$defs![schema.$ref.replace('#/$defs/', '')], root, path);
  }
  const found: string[] = [];
  if ('const' in schema && value !== schema.const) found.push(`${path}: not ${schema.const}`);
  const types = [schema.type ?? []].flat();
  if (types.length > 0 && !types.some((type) => isOfType(value, type))) found.push(`${path}: not ${types}`);
  if (typeof value === 'number') {
    if (value < (schema.minimum ?? value)) found.push(`${path}: below ${schema.minimum}`);
    if (value > (schema.maximum ?? value)) found.push(`${path}: above ${schema.maximum}`);
  }
  if (Array.isArray(value) && schema.items) {
    for (const [i, item] of value.entries())
      found.push(...violations(item, schema.items, root, `${path}[${i}]`));
  } else if (typeof value === 'object' && value !== null) {
    for (const key of schema.required ?? []) if (!(key in value)) found.push(`${path}: no ${key}`);
    for (const [key, item] of Object.entries(value)) {
      const property = schema.properties?.[key];
      if (property) found.push(...violations(item, property, root, `${path}.${key}`));
      else if (schema.additionalProperties === false) found.push(`${path}: undocumented ${key}`);
    }
  }
  return found;
}

function isOfType(value: unknown, type: string): boolean {
  if (type === 'null') return value === null;
  if (type === 'integer') return Number.isInteger(value);
  if (type === 'array') return Array.isArray(value);
  if (type === 'object') return typeof value === 'object' && value !== null && !Array.isArray(value);
  return typeof value === type && !Number.isNaN(value);
}
