/** Arguments and options that several commands have; an Option is made anew for each. */
import { Option } from 'commander';
import { collect, parseChunkSize, parseGemm, parseMemory, wholeNumber } from './options.ts';

export const MODEL = 'Hugging Face directory, .safetensors file or index, or GGUF';

export const threadsOption = (): Option =>
  new Option('--threads <n>', 'worker threads (default: all cores)').argParser(wholeNumber(1));

/** Quantizations of activations under which a model is evaluated too. */
export const activationsOption = (): Option =>
  new Option(
    '--activations <scheme>',
    'evaluate with quantized activations too: dynamic, dynamic-block, static, each with [:4][:asymmetric], or bitlinear (repeatable)',
  ).argParser(collect);

export const statsOption = (): Option =>
  new Option('--stats <file>', 'ranges for --activations static, of quantize calibrate');

export const chunkSizeOption = (): Option =>
  new Option('--chunk-size <n>', 'weights a thread handles at a time (default: 1048576)').argParser(
    parseChunkSize,
  );

export const contextOption = (): Option =>
  new Option('--context <n>', 'tokens in a window').argParser(wholeNumber(2));

export const seedOption = (): Option =>
  new Option('--seed <n>', 'of the choice of windows from a longer text (default: 0)').argParser(
    wholeNumber(0),
  );

export const kernelsOption = (): Option =>
  new Option('--kernels <kind>', 'inner loops (default: auto)').choices(['auto', 'simd', 'scalar']);

export const memoryOption = (): Option =>
  new Option(
    '--memory <size>',
    'memory for activations and Hessians, N(K|M|G|T) (default: half of what is free)',
  ).argParser(parseMemory);

export const gemmOption = (): Option =>
  new Option(
    '--gemm <kind>',
    'matrix products: auto (the fastest there is), wasm (the same bytes on every machine), wasm-relaxed, blas or blas:PATH (default: auto)',
  ).argParser(parseGemm);
