/**
 * Entry of the module for calibration: dense products, activations, factorisations. It is instantiated once a thread over
 * one shared memory, so no kernel keeps anything in static memory or globals; everything from `arenaBase()` on
 * belongs to the host. Addresses are byte offsets, multiples of 16; matrices are row-major.
 */

/** First byte the module does not use itself. */
export function arenaBase(): usize {
  return (__heap_base + 15) & ~15;
}

export { addProducts, cholesky, gram, packColumns, solveTriangle, subtractProduct, weightedDot } from './linear';
export { gemm, gemmScratchBytes, gemmTile } from './gemm';
export {
  gptqBacksolve,
  gptqCombine,
  gptqDescend,
  gptqDot,
  gptqFeedback,
  gptqProduct,
  gptqTarget,
} from './gptq';
export { gptqFit, gptqFitLane, gptqScan, gptqSteps, gptqTake, gptqTry } from './gptq-search';
export { gptqPair } from './gptq-pairs';
export {
  bfloatRows,
  byteRows,
  codeRows,
  codeRowsAffine,
  codeRowsFixed,
  countRows,
  extremes,
  halfRows,
  squaredDifference,
} from './coded-rows';
export { ternaryMasks, ternaryProduct } from './ternary';
export { causalSoftmax, siluMultiply } from './activation';
export { addToDivergence, addToNormalizer } from './divergence';
export { rmsNorm } from './norm';
export { ropeHalves, ropePairs } from './rope';
export { addColumnSquares, addScaled, addToRows, allFinite } from './rows';
