import { existsSync } from 'node:fs';
import { describe } from 'vitest';
import { splittingNames } from '../../src/calibrate/splits.ts';
import { goldenModels } from '../support/golden.ts';
import { engineDirectory } from './ggml.ts';
import { splittingTests } from './tokens.ts';

const { checkpoint } = goldenModels.find(({ name }) => name === 'qwen2')!;

// A vocabulary of 150k words shows where a text is cut better than one of 2048.
describe.skipIf(engineDirectory === null || !existsSync(checkpoint))(
  'splitting by every tokenizer.ggml.pre, a large vocabulary',
  () => splittingTests(checkpoint, splittingNames),
);
