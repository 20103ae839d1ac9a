import { describeDeterminism } from './determinism.ts';

describeDeterminism([
  { threads: 2 },
  { threads: 3 },
  { threads: 3, chunkSize: 32_768 },
  { threads: 1, chunkSize: 32_768 },
  { threads: 2, chunkSize: 65_536 },
  { threads: 2, kernels: 'scalar' },
]);
