import { TokenizerError } from './types.ts';

/** One field of a protocol buffer message. Varints come as bigint, the rest as the bytes they are. */
export interface ProtobufField {
  readonly number: number;
  /** 0 varint, 1 eight bytes, 2 length-delimited, 5 four bytes. */
  readonly wireType: number;
  readonly varint: bigint;
  readonly bytes: Uint8Array;
}

const NO_BYTES = new Uint8Array(0);

/**
 * The fields of a message in order, every length checked against what is left of it.
 *
 * @throws TokenizerError when the bytes are no protocol buffer message
 */
export function* protobufFields(message: Uint8Array, file: string): Generator<ProtobufField> {
  let at = 0;
  const fail = (got: string): never => {
    throw new TokenizerError('tokenizer.model is damaged or is no SentencePiece model', {
      file,
      expected: 'a protocol buffer message',
      got: `${got} at byte ${at} of ${message.length}`,
      advice: 'download the file again (a file of a few hundred bytes may be a Git LFS pointer)',
    });
  };
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      if (at >= message.length) fail('a number that runs past the end');
      const byte = message[at++];
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    return fail('a number of more than ten bytes');
  };
  const take = (length: bigint | number): Uint8Array => {
    if (BigInt(length) > BigInt(message.length - at))
      fail(`a field of ${length} bytes that runs past the end`);
    const start = at;
    at += Number(length);
    return message.subarray(start, at);
  };
  while (at < message.length) {
    const tag = varint();
    const number = Number(tag >> 3n);
    const wireType = Number(tag & 7n);
    if (number < 1 || number > 0x1fff_ffff) fail(`field number ${number}`);
    if (wireType === 0) yield { number, wireType, varint: varint(), bytes: NO_BYTES };
    else if (wireType === 1) yield { number, wireType, varint: 0n, bytes: take(8) };
    else if (wireType === 2) yield { number, wireType, varint: 0n, bytes: take(varint()) };
    else if (wireType === 5) yield { number, wireType, varint: 0n, bytes: take(4) };
    else fail(`wire type ${wireType}`);
  }
}
