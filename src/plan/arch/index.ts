import { QuantizeError } from '../../core/errors.ts';
import type { JsonObject } from '../../core/model-files.ts';
import { asArray, asInteger, asString } from '../json.ts';
import type { Architecture } from './architecture.ts';
import { llama } from './llama.ts';
import { mixtral } from './mixtral.ts';
import { qwen2 } from './qwen2.ts';
import { qwen3 } from './qwen3.ts';

/** config.json names a model this version does not know. */
export class UnknownArchitectureError extends QuantizeError {}

/** Every architecture that can be turned into a file llama.cpp runs. */
export const architectures: readonly Architecture[] = [llama, mixtral, qwen2, qwen3];

/** The table for this configuration: by class name, or by `model_type` when config.json names no class. */
export function architectureOf(config: JsonObject, file: string): Architecture {
  const className = asString(asArray(config.architectures)?.[0]);
  const modelType = asString(config.model_type);
  const found =
    className === null
      ? architectures.find((candidate) => modelType !== null && Object.hasOwn(candidate.defaults, modelType))
      : architectures.find((candidate) => candidate.classes.includes(className));
  if (found !== undefined) return found;
  throw new UnknownArchitectureError(
    `the architecture ${className ?? modelType ?? '(none named)'} is not supported`,
    {
      file,
      expected: `architectures: ${architectures.flatMap((candidate) => candidate.classes).join(', ')}`,
      got:
        className === null
          ? `no architectures entry, model_type ${modelType ?? 'absent'}`
          : `architectures: ${className}`,
      advice:
        "convert it with llama.cpp's convert_hf_to_gguf.py and quantize the resulting GGUF, " +
        'or move the .safetensors away from config.json to quantize bare weights',
    },
  );
}

/** config.json's fields over the defaults of its type of model. */
export function withDefaults(architecture: Architecture, config: JsonObject): JsonObject {
  const modelType = asString(config.model_type) ?? '';
  const filled: Record<string, JsonObject[string]> = {
    ...(Object.hasOwn(architecture.defaults, modelType) ? architecture.defaults[modelType] : {}),
    ...config,
  };
  const heads = asInteger(filled.num_attention_heads);
  const hidden = asInteger(filled.hidden_size);
  if (Object.hasOwn(architecture.defaults, modelType)) filled.num_key_value_heads ??= heads;
  if (architecture.derivesHeadSize.includes(modelType) && heads !== null && heads > 0 && hidden !== null) {
    filled.head_dim ??= Math.floor(hidden / heads);
  }
  return filled;
}
