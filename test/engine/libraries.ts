import { writeSync } from 'node:fs';
import { join } from 'node:path';
import koffi, { type LibraryHandle } from 'koffi';
import { engineDirectory } from './ggml.ts';

/**
 * llama.cpp's shared libraries, loaded once a process. Its log is kept instead of printed, to be shown when a call
 * fails. A failed assertion in C++ still ends the process (there is nothing to catch): what it said, and what this
 * process was doing, then goes to stderr first.
 */
export interface Libraries {
  /** libggml-base: tensors, GGUF files, quantizers. */
  readonly base: LibraryHandle;
  /** libllama: models, contexts, llama_model_quantize. */
  readonly llama: LibraryHandle;
  /** Tensors without a graph: contexts must be freed. */
  readonly tensors: ReturnType<typeof bindTensors>;
  /** Runs `call`; its warnings and errors are returned beside its result. */
  logged<T>(task: string, call: () => T): { result: T; log: string };
}

/** `enum ggml_log_level`. */
const WARNING = 3;
const CONTINUED = 5;

koffi.struct('ggml_init_params', { mem_size: 'size_t', mem_buffer: 'void *', no_alloc: 'bool' });

function bindTensors(base: LibraryHandle) {
  return {
    init: base.func('void *ggml_init(ggml_init_params params)'),
    create: base.func(
      'void *ggml_new_tensor(void *context, int type, int dimensions, const int64_t *extents)',
    ),
    setName: base.func('void *ggml_set_name(void *tensor, const char *name)'),
    setZero: base.func('void *ggml_set_zero(void *tensor)'),
    free: base.func('void ggml_free(void *context)'),
  };
}

let loaded: Libraries | undefined;

/** The libraries; call only where `engineDirectory` is not null. */
export function libraries(): Libraries {
  loaded ??= load(engineDirectory!);
  return loaded;
}

function load(directory: string): Libraries {
  const open = (name: string) => koffi.load(join(directory, name));
  const base = open('libggml-base.so');
  const ggml = open('libggml.v0.5.0.so');
  const llama = open('libllama.v0.5.0.so');

  let task = 'idle';
  let lines: string[] = []; // everything said
  let complaints: string[] = []; // warnings and errors
  let complaining = false;
  const logger = koffi.proto('void llama_log(int level, const char *text, void *user)');
  const aborter = koffi.proto('void llama_aborted(const char *message)');
  const keep = (level: number, text: string) => {
    if (level !== CONTINUED) complaining = level >= WARNING;
    lines.push(text);
    if (complaining) complaints.push(text);
  };
  llama.func('void llama_log_set(llama_log *callback, void *user)')(
    koffi.register(keep, koffi.pointer(logger)),
    null,
  );
  const explain = (message: string) => {
    const log = lines.slice(-20).join('');
    writeSync(
      2,
      `\nllama.cpp aborted this process\n  while: ${task}\n  saying: ${message}\n  log:\n${log}\n`,
    );
  };
  base.func('void *ggml_set_abort_callback(llama_aborted *callback)')(
    koffi.register(explain, koffi.pointer(aborter)),
  );
  ggml.func('void ggml_backend_load_all_from_path(const char *path)')(directory);
  llama.func('void llama_backend_init()')();

  return {
    base,
    llama,
    tensors: bindTensors(base),
    logged(description, call) {
      task = description;
      lines = [];
      complaints = [];
      try {
        return { result: call(), log: complaints.join('') };
      } finally {
        task = 'idle';
      }
    },
  };
}
