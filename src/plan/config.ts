import { QuantizeError } from '../core/errors.ts';
import type { JsonObject, JsonValue } from '../core/model-files.ts';
import { asObject } from './json.ts';

/** A field of config.json is missing or is not what it has to be. */
export class ConfigFieldError extends QuantizeError {}

/** The checkpoint's weights are already quantized by another tool. */
export class QuantizedCheckpointError extends QuantizeError {}

/** Largest value of GGUF's UINT32. */
const MAX_UINT32 = 0xffff_ffff;

/**
 * config.json with what transformers would fill in for the fields it omits. Reading is strict: a field of the
 * wrong kind is an error that names it.
 */
export class ModelConfig {
  readonly #values: JsonObject;
  readonly #file: string;

  constructor(values: JsonObject, file: string) {
    this.#values = values;
    this.#file = file;
  }

  /** The first of these fields that is there, null or not; undefined when none is. */
  find(names: readonly string[]): JsonValue | undefined {
    const name = names.find((candidate) => Object.hasOwn(this.#values, candidate));
    return name === undefined ? undefined : this.#values[name];
  }

  has(name: string): boolean {
    return this.find([name]) !== undefined && this.find([name]) !== null;
  }

  flag(name: string): boolean {
    return this.find([name]) === true;
  }

  /** Number from the first of these fields that is there; null when it is null or absent. */
  number(names: readonly string[]): number | null {
    const value = this.find(names);
    if (value === undefined || value === null) return null;
    if (typeof value === 'number' && Number.isFinite(value)) return value;
    throw this.#wrong(names, 'a number', value);
  }

  /** As `number`, for values that go into UINT32 metadata. */
  integer(names: readonly string[]): number | null {
    const value = this.number(names);
    if (value === null || (Number.isInteger(value) && value >= 0 && value <= MAX_UINT32)) return value;
    throw this.#wrong(names, 'a whole number that fits 32 bits', value);
  }

  /** As `integer`, positive and present. */
  count(names: readonly string[]): number {
    const value = this.integer(names);
    if (value === null || value === 0) throw this.#wrong(names, 'a positive whole number', value);
    return value;
  }

  #wrong(names: readonly string[], expected: string, got: JsonValue): ConfigFieldError {
    return new ConfigFieldError(`the model configuration's ${names.join(' or ')} cannot be used`, {
      file: this.#file,
      expected,
      got: got === null ? 'nothing' : JSON.stringify(got).slice(0, 80),
      advice: 'compare config.json with the one its author published',
    });
  }
}

/** Refuses a checkpoint whose config.json says that its weights are packed by a quantization method. */
export function refuseQuantized(config: JsonObject, file: string): void {
  const quantization = asObject(config.quantization_config);
  if (quantization === null) return;
  const method =
    quantization.quant_method ??
    quantization.quant_algo ??
    (quantization.load_in_4bit || quantization.load_in_8bit ? 'bitsandbytes' : 'an unnamed method');
  throw new QuantizedCheckpointError(`this checkpoint is already quantized with ${method}`, {
    file,
    expected: 'weights as plain floating-point numbers',
    got: `quantization_config with ${Object.keys(quantization).slice(0, 6).join(', ')}`,
    advice: 'use the original checkpoint it was made from, or dequantize it and drop quantization_config',
  });
}
