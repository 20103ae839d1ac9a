import { QuantizeError } from './errors.ts';

/** A weight is NaN or infinite. */
export class NotFiniteWeightError extends QuantizeError {}

/** Reading tensor data failed. */
export class ReadError extends QuantizeError {}

/** A file became shorter while it was read. */
export class InputChangedError extends QuantizeError {}

/** A block's scale went beyond what its type can store, so the block decodes to values that are not finite. */
export class ScaleOverflowError extends QuantizeError {}
