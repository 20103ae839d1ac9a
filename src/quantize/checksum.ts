const LANES = 32;
const PRIME = 0x9e3779b1; // 2^32 over the golden ratio, odd

/**
 * Checksum of encoded bytes, to find what a disk lost or something else changed; no defence against forgery. Little-
 * endian words are mixed into 32 lanes in turn, which begin as 1, 2, ...; a word cut short ends in zeros. At last the
 * lanes are mixed into the length. One changed word always shows; other changes stay unseen once in 2^32.
 *
 * Made for speed (few operations for four bytes, every lane on its own), as it runs in every quantizing loop.
 */
export function checksum(bytes: Uint8Array): number {
  const lanes = Uint32Array.from({ length: LANES }, (_, lane) => lane + 1);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const whole = bytes.length >> 2;
  for (let i = 0; i < whole; i++) lanes[i % LANES] = mix(lanes[i % LANES], view.getUint32(4 * i, true));
  if (bytes.length % 4 > 0) {
    let word = 0;
    for (let i = 4 * whole; i < bytes.length; i++) word |= bytes[i] << (8 * (i % 4));
    lanes[whole % LANES] = mix(lanes[whole % LANES], word);
  }
  return lanes.reduce((sum, lane) => mix(sum, lane), bytes.length);
}

/** Takes the next of several checksums into the one of those before it. */
export const foldChecksum = mix;

/** x = (state xor word) * PRIME mod 2^32, then x xor x >> 15: one to one in the state and in the word. */
function mix(state: number, word: number): number {
  const product = Math.imul(state ^ word, PRIME);
  return (product ^ (product >>> 15)) >>> 0;
}
