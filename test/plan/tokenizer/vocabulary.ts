import type { ModelFiles } from '../../../src/core/model-files.ts';
import { architectures } from '../../../src/plan/arch/index.ts';
import { ModelConfig } from '../../../src/plan/config.ts';
import { MetadataBuilder } from '../../../src/plan/metadata-builder.ts';
import { addVocabulary } from '../../../src/plan/tokenizer/index.ts';
import { modelFiles, valuesByKey } from '../../support/synthetic.ts';

export const [llama, , qwen2] = architectures;

/** `tokenizer.*` values that these files lead to, keys without the common prefix, and the warnings. */
export function vocabularyOf(parts: Partial<ModelFiles>, rows: number, architecture = llama, pre?: string) {
  const metadata = new MetadataBuilder();
  const warnings: string[] = [];
  const config = new ModelConfig({ vocab_size: rows }, 'config.json');
  addVocabulary(metadata, architecture, config, modelFiles(parts), {
    pre,
    warn: (sentence) => warnings.push(sentence),
  });
  const values = Object.entries(valuesByKey(metadata.entries()));
  return {
    warnings,
    values: Object.fromEntries(
      values.map(([key, value]) => [key.replace(/^tokenizer\.(ggml\.)?/, ''), value]),
    ),
  };
}
