/** The 12 bytes in which Q4_K and Q5_K keep eight 6-bit scales and eight 6-bit minima. */
export const SCALES6_BYTES = 12;

/**
 * Packs scales and minima, each 0..63. Byte j < 4: scale j, and above it the upper 2 bits of scale j + 4; byte 4 + j:
 * the same of minima; byte 8 + j: the lower 4 bits of scale j + 4, and above them those of minimum j + 4.
 */
export function packScales6(scales: Uint8Array, mins: Uint8Array, out: Uint8Array): void {
  for (let j = 0; j < 4; j++) {
    out[j] = scales[j] | ((scales[j + 4] >> 4) << 6);
    out[j + 4] = mins[j] | ((mins[j + 4] >> 4) << 6);
    out[j + 8] = (scales[j + 4] & 15) | ((mins[j + 4] & 15) << 4);
  }
}

/** Inverse of packScales6. */
export function unpackScales6(packed: Uint8Array, scales: Uint8Array, mins: Uint8Array): void {
  for (let j = 0; j < 4; j++) {
    scales[j] = packed[j] & 63;
    mins[j] = packed[j + 4] & 63;
    scales[j + 4] = (packed[j + 8] & 15) | ((packed[j] >> 6) << 4);
    mins[j + 4] = (packed[j + 8] >> 4) | ((packed[j + 4] >> 6) << 4);
  }
}
