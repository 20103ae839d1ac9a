import { QuantizeError } from '../core/errors.ts';
import { type Plan, storedType } from '../core/plan.ts';
import type { TypeName } from '../core/types.ts';
import { canEncode, canWeigh } from './format/index.ts';

/** A type that llama-quantize knows but this version cannot write. */
export class UnsupportedTypeError extends QuantizeError {}

/** @throws UnsupportedTypeError for a tensor that cannot be coded as planned */
export function requireEncoders({ tensors, checkpoint }: Plan): void {
  const missing = tensors.find(
    ({ encoder, source, importance, calibrated }) =>
      encoder !== storedType(source) && !importance && !calibrated && !canEncode(encoder),
  );
  if (missing === undefined) return;
  throw new UnsupportedTypeError(`this version cannot write ${missing.type} yet`, {
    file: checkpoint.path,
    tensor: missing.name,
    got: missing.reason,
    advice: 'choose another --type; `quantize estimate` lists what there is',
  });
}

/** Whether this version can code weights as the type, if need be only under an importance matrix. */
export const canWrite = (type: TypeName): boolean => canEncode(type) || canWeigh(type);
