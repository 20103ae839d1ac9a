import type { JsonObject, JsonValue } from '../core/model-files.ts';

type Maybe = JsonValue | undefined;

export const asObject = (value: Maybe): JsonObject | null =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : null;

export const asArray = (value: Maybe): readonly JsonValue[] | null =>
  Array.isArray(value) ? (value as readonly JsonValue[]) : null;

export const asString = (value: Maybe): string | null => (typeof value === 'string' ? value : null);

export const asInteger = (value: Maybe): number | null =>
  Number.isInteger(value) ? (value as number) : null;

/** Objects in a list, other items left out. */
export const objectsIn = (value: Maybe): JsonObject[] =>
  (asArray(value) ?? []).filter((item): item is JsonObject => asObject(item) !== null);

/** Text of a token as configuration files write it: a string, or an object with `content`. */
export const tokenText = (value: Maybe): string | null =>
  asString(value) ?? asString(asObject(value)?.content ?? null);
