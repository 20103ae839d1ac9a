import * as zlib from 'node:zlib';

/** CRC-32 as in zlib, of `bytes` after those whose CRC is `before`. */
type Crc32 = (bytes: Uint8Array, before?: number) => number;

/** Node has it since 20.15. */
const native = (zlib as { crc32?: Crc32 }).crc32;

const table = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

/** The definition, byte by byte: polynomial 0xEDB88320, bits reflected, complemented before and after. */
export const plainCrc32: Crc32 = (bytes, before = 0) => {
  let value = ~before;
  for (let i = 0; i < bytes.length; i++) value = table[(value ^ bytes[i]) & 0xff] ^ (value >>> 8);
  return ~value >>> 0;
};

export const crc32: Crc32 = native ?? plainCrc32;
