// Builders of bytes for the malformed files. They write what they are told, right or wrong.

export const u8 = (...values) => Buffer.from(values);

export function u32(value) {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

export function u64(value) {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

export const zeros = (length) => Buffer.alloc(length);

/** A safetensors file: length field, header as given (text, bytes or an object), `dataLength` zeros. */
export function safetensors(header, dataLength = 0, { length } = {}) {
  const json = Buffer.isBuffer(header)
    ? header
    : Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  return Buffer.concat([u64(length ?? json.length), json, zeros(dataLength)]);
}

export const entry = (dtype, shape, begin, end) => ({ dtype, shape, data_offsets: [begin, end] });

/** GGUF text: u64 length and bytes. */
export function text(value) {
  const bytes = Buffer.isBuffer(value) ? value : Buffer.from(value);
  return Buffer.concat([u64(bytes.length), bytes]);
}

/** Numbers of the GGUF value types. */
export const T = { UINT8: 0, UINT32: 4, INT32: 5, FLOAT32: 6, BOOL: 7, STRING: 8, ARRAY: 9, UINT64: 10 };

/** A GGUF key with its type and the bytes of its value. */
export const pair = (key, type, ...value) => Buffer.concat([text(key), u32(type), ...value]);

/** A GGUF tensor entry, extents with the row length first. */
export const tensor = (name, extents, type, offset, dimensions = extents.length) =>
  Buffer.concat([text(name), u32(dimensions), ...extents.map(u64), u32(type), u64(offset)]);

/** A GGUF file from its parts; the counts follow from the lists unless they are given. */
export function gguf({
  magic = 'GGUF',
  version = u32(3),
  pairs = [],
  tensors = [],
  keyCount,
  tensorCount,
  data = 0,
}) {
  const header = Buffer.concat([
    Buffer.from(magic),
    version,
    u64(tensorCount ?? tensors.length),
    u64(keyCount ?? pairs.length),
    ...pairs,
    ...tensors,
  ]);
  return Buffer.concat([header, zeros((32 - (header.length % 32)) % 32), zeros(data)]);
}
