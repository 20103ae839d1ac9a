import type { MetadataArray, MetadataEntry, ScalarType, ScalarValue } from '../core/metadata.ts';

/**
 * Collects key-value pairs in file order, with the habits of llama.cpp's `GGUFWriter`: a key set again keeps its
 * place and takes the new value; an empty string or array is not written.
 */
export class MetadataBuilder {
  readonly #entries = new Map<string, MetadataEntry>();

  set(key: string, type: ScalarType, value: ScalarValue): void {
    if (value !== '') this.#entries.set(key, { key, type, value });
  }

  array(key: string, elementType: ScalarType, value: MetadataArray): void {
    if (value.length > 0) this.#entries.set(key, { key, type: 'ARRAY', elementType, value });
  }

  has(key: string): boolean {
    return this.#entries.has(key);
  }

  entries(): MetadataEntry[] {
    return [...this.#entries.values()];
  }
}
