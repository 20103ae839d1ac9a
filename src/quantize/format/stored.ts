import { fromFloat16 } from '../../core/float.ts';
import { dataTypes, type TypeName } from '../../core/types.ts';
import type { Format } from './codec.ts';

/** A dtype that is only read, given the number at a byte offset; float32 stores round it once, to nearest even. */
function readOnly(type: TypeName, numberAt: (bytes: DataView, at: number) => number): Format {
  const { typeSize } = dataTypes[type];
  return {
    type,
    decode(y, x) {
      const bytes = new DataView(y.buffer, y.byteOffset, y.byteLength);
      for (let i = 0; i < x.length; i++) x[i] = numberAt(bytes, i * typeSize);
    },
    encoders: {},
  };
}

/**
 * OCP FP8 E4M3: sign, exponent of 4 bits with bias 7, mantissa of 3 bits; no infinity, and NaN only where exponent
 * and mantissa are all ones.
 */
function fromE4M3(byte: number): number {
  const sign = byte & 0x80 ? -1 : 1;
  const exponent = (byte >> 3) & 15;
  const mantissa = byte & 7;
  if ((byte & 0x7f) === 0x7f) return Number.NaN;
  if (exponent === 0) return sign * mantissa * 2 ** -9;
  return sign * (1 + mantissa / 8) * 2 ** (exponent - 7);
}

/**
 * A 64-bit integer to a number that float32 rounds as it would have rounded the integer. Number() would round to 53
 * bits first, and rounding twice may go wrong at a float32 tie; so the low 11 bits become one bit that says whether
 * anything was there (rounding to odd), which float64 holds exactly.
 */
function singleRounding(value: bigint): number {
  const magnitude = value < 0n ? -value : value;
  if (magnitude < 2n ** 53n) return Number(value);
  const odd = ((magnitude >> 11n) | BigInt((magnitude & 0x7ffn) !== 0n)) << 11n;
  return Number(value < 0n ? -odd : odd);
}

export const stored: readonly Format[] = [
  readOnly('F64', (bytes, at) => bytes.getFloat64(at, true)),
  readOnly('F8_E4M3', (bytes, at) => fromE4M3(bytes.getUint8(at))),
  // OCP FP8 E5M2 is the upper byte of a float16.
  readOnly('F8_E5M2', (bytes, at) => fromFloat16(bytes.getUint8(at) << 8)),
  readOnly('I8', (bytes, at) => bytes.getInt8(at)),
  readOnly('I16', (bytes, at) => bytes.getInt16(at, true)),
  readOnly('I32', (bytes, at) => bytes.getInt32(at, true)),
  readOnly('I64', (bytes, at) => singleRounding(bytes.getBigInt64(at, true))),
  readOnly('U8', (bytes, at) => bytes.getUint8(at)),
  readOnly('U16', (bytes, at) => bytes.getUint16(at, true)),
  readOnly('U32', (bytes, at) => bytes.getUint32(at, true)),
  readOnly('U64', (bytes, at) => singleRounding(bytes.getBigUint64(at, true))),
  // Every byte but 0 is true.
  readOnly('BOOL', (bytes, at) => (bytes.getUint8(at) === 0 ? 0 : 1)),
];
