/**
 * Entry of the WebAssembly module: re-exports the kernels, named `quantize_<encoder>`, `dequantize_<type>`,
 * `measure`, `range`, `histogram` and `checksum`. Addresses are byte offsets into the exported memory; everything from `arenaBase()` on
 * belongs to the host. n counts weights and must be a multiple of the type's block size; buffers are 16-byte aligned
 * and do not overlap.
 */
export * from './checksum';
export * from './float';
export * from './fp4';
export * from './full-range';
export * from './histogram';
export * from './iq1_m';
export * from './iq1_s';
export * from './iq2';
export * from './iq3';
export * from './iq4';
export * from './measure';
export * from './min-max';
export * from './q1_0';
export * from './q2_0';
export * from './q2_k';
export * from './q3_k';
export * from './q45_k';
export * from './q6_k';
export * from './q8_0';
export * from './stored';
export * from './ternary';
export * from './zero-point';

/** First byte the module does not use itself. */
export function arenaBase(): usize {
  return (__heap_base + 15) & ~15;
}
