import { fromBfloat16, fromFloat16, toBfloat16, toFloat16 } from '../../core/float.ts';
import type { Format } from './codec.ts';

const view = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

export const F32: Format = {
  type: 'F32',
  decode: (y, x) => new Uint8Array(x.buffer, x.byteOffset, x.byteLength).set(y),
  encoders: { F32: (x, y) => y.set(new Uint8Array(x.buffer, x.byteOffset, x.byteLength)) },
};

export const F16: Format = {
  type: 'F16',
  decode(y, x) {
    const halves = view(y);
    for (let i = 0; i < x.length; i++) x[i] = fromFloat16(halves.getUint16(2 * i, true));
  },
  encoders: {
    F16(x, y) {
      const halves = view(y);
      for (let i = 0; i < x.length; i++) halves.setUint16(2 * i, toFloat16(x[i]), true);
    },
  },
};

export const BF16: Format = {
  type: 'BF16',
  decode(y, x) {
    const halves = view(y);
    for (let i = 0; i < x.length; i++) x[i] = fromBfloat16(halves.getUint16(2 * i, true));
  },
  encoders: {
    BF16(x, y) {
      const halves = view(y);
      for (let i = 0; i < x.length; i++) halves.setUint16(2 * i, toBfloat16(x[i]), true);
    },
  },
};
