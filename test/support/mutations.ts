import fc from 'fast-check';

/** One change to a file: bytes overwritten, cut out, put in, or everything from a place on removed. */
export interface Mutation {
  readonly kind: 'overwrite' | 'remove' | 'insert' | 'truncate';
  /** Where, as a fraction of the part of the file that is changed. */
  readonly place: number;
  readonly bytes: Uint8Array;
}

const interesting = fc.oneof(
  fc.uint8Array({ minLength: 1, maxLength: 8 }),
  fc.constantFrom(
    Uint8Array.of(0),
    new Uint8Array(8).fill(0xff),
    Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0x80), // 2^63
    Uint8Array.of(0, 0, 0, 0, 0, 1, 0, 0), // 2^40
    Uint8Array.of(9, 0, 0, 0), // ARRAY
    ...['"', '{', '[', '9', '-', '\\u', ',', ':', '}', 'e9', '.'].map((text) =>
      new TextEncoder().encode(text),
    ),
  ),
);

export const mutations: fc.Arbitrary<Mutation[]> = fc.array(
  fc.record({
    kind: fc.constantFrom('overwrite', 'remove', 'insert', 'truncate'),
    place: fc.double({ min: 0, max: 1, noNaN: true }),
    bytes: interesting,
  }),
  { minLength: 1, maxLength: 3 },
);

/** Applies mutations to the first `reach` bytes of a file. */
export function mutate(file: Uint8Array, reach: number, changes: readonly Mutation[]): Buffer {
  let bytes = Buffer.from(file);
  for (const { kind, place, bytes: given } of changes) {
    const at = Math.floor(place * Math.min(reach, bytes.length));
    const [before, after] = [bytes.subarray(0, at), bytes.subarray(at)];
    if (kind === 'truncate') bytes = Buffer.from(before);
    else if (kind === 'insert') bytes = Buffer.concat([before, given, after]);
    else if (kind === 'remove') bytes = Buffer.concat([before, after.subarray(given.length)]);
    else bytes = Buffer.concat([before, given, after.subarray(given.length)]);
  }
  return bytes;
}
