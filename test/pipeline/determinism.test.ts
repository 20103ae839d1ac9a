import { describeDeterminism, fewSchemes } from './determinism.ts';

// The bundled model's largest tensor has 16 chunks of 32768 weights, and one of the default size.
describeDeterminism([{ threads: 3, chunkSize: 32_768 }], fewSchemes);
