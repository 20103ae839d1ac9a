import type { Checkpoint } from '../../src/core/checkpoint.ts';
import type { JsonObject } from '../../src/core/model-files.ts';
import { describeModel } from '../../src/plan/model.ts';
import { headersOnly, modelFiles, tinyConfig, tinyShapes, tinyTokenizer } from '../support/synthetic.ts';

/** What becomes of a tiny Llama whose configuration has these fields too. */
export const describeTiny = (config: JsonObject = {}, checkpoint: Checkpoint = headersOnly(tinyShapes())) =>
  describeModel(checkpoint, modelFiles({ config: { ...tinyConfig, ...config }, tokenizer: tinyTokenizer }), {
    fileType: 7,
  })!;

/** A checkpoint without some of its tensors. */
export const without = (checkpoint: Checkpoint, ...names: string[]): Checkpoint => ({
  ...checkpoint,
  tensors: new Map([...checkpoint.tensors].filter(([name]) => !names.includes(name))),
});
