#!/usr/bin/env node
// llama-quantize itself, as a process: llama_model_quantize of the prebuilt libllama.
// Usage: node bench/llama-quantize.js INPUT.gguf FTYPE OUTPUT.gguf THREADS
import { join } from 'node:path';
import koffi from 'koffi';
import { engineDirectory } from '../test/engine/library.js';

const [input, fileType, output, threads] = process.argv.slice(2);
const open = (name) => koffi.load(join(engineDirectory, name));
open('libggml-base.so');
const ggml = open('libggml.v0.5.0.so');
const llama = open('libllama.v0.5.0.so');
// llama_model_quantize_params of llama.h; the test suite checks the same layout against the engine's defaults.
koffi.struct('llama_model_quantize_params', {
  ...{ nthread: 'int32_t', ftype: 'int', output_tensor_type: 'int', token_embedding_type: 'int' },
  ...{ allow_requantize: 'bool', quantize_output_tensor: 'bool', only_copy: 'bool', pure: 'bool' },
  ...{ keep_split: 'bool', dry_run: 'bool', imatrix: 'void *', kv_overrides: 'void *' },
  ...{ tt_overrides: 'void *', prune_layers: 'void *', max_buf_size: 'size_t' },
});
const log = koffi.proto('void llama_log(int level, const char *text, void *user)');
llama.func('void llama_log_set(llama_log *callback, void *user)')(
  koffi.register(() => {}, koffi.pointer(log)),
  null,
);
ggml.func('void ggml_backend_load_all_from_path(const char *path)')(engineDirectory);
const defaults = llama.func('llama_model_quantize_params llama_model_quantize_default_params()')();
const quantize = llama.func(
  'uint32_t llama_model_quantize(const char *input, const char *output, const llama_model_quantize_params *params)',
);
process.exit(quantize(input, output, { ...defaults, nthread: Number(threads), ftype: Number(fileType) }));
