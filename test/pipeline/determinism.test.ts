import { temporaryDirectory } from '../support/temporary.ts';
import { tinyLlama } from '../support/tiny-llama.ts';
import { describeDeterminism, fewSchemes } from './determinism.ts';

// The largest tensor has 16 chunks of 32768 weights, and one of the default size.
const model = tinyLlama(temporaryDirectory(), { layers: 1 });
describeDeterminism([{ threads: 3, chunkSize: 32_768 }], fewSchemes, model);
