import type { TensorCalibration } from '../core/calibration.ts';
import { bytesOf, elementsOf } from '../core/types.ts';
import type { OutputErrors } from '../quantize/gptq/matrix.ts';
import type { CalibratedTensor } from './gptq.ts';

/** What became of a tensor. */
export interface CodedTensor {
  readonly name: string;
  /** All its blocks, in shared memory. */
  readonly blocks: Uint8Array;
  readonly calibration: TensorCalibration;
}

/** The blocks of a tensor as its parts (rows, experts) are coded, and the errors of all parts together. */
export class CodedBlocks {
  readonly tensor: CalibratedTensor;
  readonly #blocks: Uint8Array;
  readonly #parts: { errors: OutputErrors; facts: Omit<TensorCalibration, 'outputError'> }[] = [];

  constructor(tensor: CalibratedTensor) {
    this.tensor = tensor;
    this.#blocks = new Uint8Array(new SharedArrayBuffer(bytesOf(tensor.type, elementsOf(tensor.shape))));
  }

  /** Takes the blocks of rows `row` and following. */
  add(
    row: number,
    blocks: Uint8Array,
    errors: OutputErrors,
    facts: Omit<TensorCalibration, 'outputError'>,
  ): void {
    this.#blocks.set(blocks, bytesOf(this.tensor.type, row * this.tensor.shape[0]));
    this.#parts.push({ errors, facts });
  }

  /** After the last part. Of facts that differ between experts, the worst. */
  finished(): CodedTensor {
    const facts = this.#parts.map((part) => part.facts);
    const most = (values: readonly number[]) => Math.max(...values);
    const conditions = facts.flatMap(({ condition }) => condition ?? []);
    return {
      name: this.tensor.name,
      blocks: this.#blocks,
      calibration: {
        tokens: Math.min(...facts.map(({ tokens }) => tokens)),
        damping: most(facts.map(({ damping }) => damping)),
        escalations: most(facts.map(({ escalations }) => escalations)),
        condition: conditions.length > 0 ? most(conditions) : null,
        deadChannels: most(facts.map(({ deadChannels }) => deadChannels)),
        outputError: {
          nearest: this.#together('plain'),
          importance: this.#together('weighted'),
          result: this.#together('result')!,
        },
        rounding: facts[0].rounding,
      },
    };
  }

  /** A relative error of all parts: their errors over their signals. */
  #together(which: 'plain' | 'weighted' | 'result'): number | null {
    let [error, signal] = [0, 0];
    for (const { errors } of this.#parts) {
      const relative = errors[which];
      if (relative === null) return null;
      error += relative * errors.signal;
      signal += errors.signal;
    }
    return signal === 0 ? 0 : error / signal;
  }
}
