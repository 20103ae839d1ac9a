import { join } from 'node:path';
import type { Checkpoint } from '../core/checkpoint.ts';
import type { ModelDescription } from '../core/model.ts';
import type { ModelFiles } from '../core/model-files.ts';
import { architectureOf, withDefaults } from './arch/index.ts';
import { ModelConfig, refuseQuantized } from './config.ts';
import { generalMetadata, parameterCount } from './metadata.ts';
import { MetadataBuilder } from './metadata-builder.ts';
import { type FloatType, guessFloatType, mapTensors } from './tensors.ts';
import { addVocabulary } from './tokenizer/index.ts';

export interface DescribeOptions {
  /** `general.file_type`: ggml's number of the type or mixture (`enum llama_ftype`). */
  readonly fileType: number;
  /** Type of tensors that are not quantized; without it the converter's guess, `guessFloatType`. */
  readonly keepFloat?: FloatType;
  /** `tokenizer.ggml.pre` to write instead of recognising the pre-tokenizer. */
  readonly pre?: string;
}

/** Version of ggml's quantized formats, `GGML_QNT_VERSION`. */
const QUANTIZATION_VERSION = 2;

/**
 * What llama.cpp's convert_hf_to_gguf.py makes of a Hugging Face checkpoint: tensors by their GGUF names, shapes
 * and row orders, and all metadata, each in its order. Reads no tensor data.
 *
 * Null when there is no config.json to say what the weights mean.
 *
 * @throws UnknownArchitectureError, QuantizedCheckpointError, ConfigFieldError, UnmappedTensorsError,
 * MissingTensorsError, TensorShapeError, TokenizerError, UnknownPreTokenizerError
 */
export function describeModel(
  checkpoint: Checkpoint,
  files: ModelFiles,
  options: DescribeOptions,
): ModelDescription | null {
  if (files.config === null || checkpoint.format !== 'safetensors') return null;
  const file = join(files.directory, 'config.json');
  refuseQuantized(files.config, file);
  const architecture = architectureOf(files.config, file);
  const config = new ModelConfig(withDefaults(architecture, files.config), file);

  const warnings: string[] = [];
  const warn = (sentence: string) => warnings.push(sentence);
  const tensors = mapTensors(checkpoint, architecture, config, {
    keepFloat: options.keepFloat ?? guessFloatType(checkpoint),
    warn,
  });

  const metadata = new MetadataBuilder();
  metadata.set('general.architecture', 'STRING', architecture.name);
  metadata.set('general.type', 'STRING', 'model');
  generalMetadata(metadata, files, parameterCount(tensors));
  for (const field of architecture.fields) {
    field({ config, metadata, architecture: architecture.name, fileType: options.fileType, warn });
  }
  metadata.set('general.quantization_version', 'UINT32', QUANTIZATION_VERSION);
  addVocabulary(metadata, architecture, config, files, { pre: options.pre, warn });

  const heads = config.count(['num_attention_heads']);
  return {
    hyperparameters: {
      architecture: architecture.name,
      layers: config.count(['num_hidden_layers', 'n_layers', 'n_layer', 'num_layers']),
      heads,
      kvHeads: config.integer(['num_key_value_heads']) ?? heads,
      experts: config.integer(['num_local_experts']) ?? 0,
    },
    metadata: metadata.entries(),
    tensors,
    warnings,
  };
}
