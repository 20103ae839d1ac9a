import { describe, expect, it } from 'vitest';
import type { JsonObject, ModelFiles } from '../../../src/core/model-files.ts';
import { MetadataBuilder } from '../../../src/plan/metadata-builder.ts';
import { addSpecialTokens } from '../../../src/plan/tokenizer/special.ts';
import { bpeTokenizer, modelFiles } from '../../support/synthetic.ts';
import { vocabularyOf } from './vocabulary.ts';

describe('special tokens', () => {
  const special = (parts: Partial<ModelFiles>, options = {}) => {
    const metadata = new MetadataBuilder();
    addSpecialTokens(metadata, modelFiles(parts), options);
    return metadata.entries().map(({ key, value }) => [key.replace(/^tokenizer\.(ggml\.)?/, ''), value]);
  };
  const added_tokens = ['<s>', '</s>', '<pad>', '<|eot|>'].map((content, id) => ({ id, content }));
  const token = (id: string): JsonObject => ({ SpecialToken: { id, type_id: 0 } });
  const [a, b]: JsonObject[] = [{ Sequence: { id: 'A' } }, { Sequence: { id: 'B' } }];
  const template = (single: JsonObject[], pair: JsonObject[]): JsonObject => ({
    type: 'TemplateProcessing',
    single,
    pair,
  });

  it('come from the tokenizer, then from config.json', () => {
    expect(
      special(
        {
          tokenizer: { added_tokens },
          tokenizerConfig: { bos_token: '<s>', pad_token: { content: '<pad>' }, add_bos_token: true },
          config: { bos_token_id: 9, eos_token_id: [1, 3], unk_token_id: 7, sep_token_id: 500 },
        },
        { vocabularySize: 100 },
      ),
    ).toEqual([
      ['bos_token_id', 0],
      ['padding_token_id', 2],
      ['unknown_token_id', 7],
      ['add_bos_token', true],
    ]);
  });

  it('that a template adds', () => {
    const post_processor = template([token('<s>'), a], [token('<s>'), a, token('<s>'), b]);
    const files = {
      tokenizer: { added_tokens, post_processor: { type: 'Sequence', processors: [post_processor] } },
      tokenizerConfig: { bos_token: '<s>', eos_token: '</s>', add_eos_token: false },
    };
    expect(special(files)).toEqual([
      ['bos_token_id', 0],
      ['eos_token_id', 1],
      ['add_bos_token', true],
      ['add_sep_token', false],
      ['add_eos_token', false],
    ]);
  });

  it('whose end-of-turn the template replaces as end of text', () => {
    const files = {
      tokenizer: { added_tokens, post_processor: template([a, token('</s>')], [a, b]) },
      tokenizerConfig: { eos_token: '<|eot|>' },
    };
    expect(special(files)).toEqual([
      ['eos_token_id', 1],
      ['eot_token_id', 3],
      ['add_eos_token', true],
    ]);
  });

  it('chat templates: one, or named ones', () => {
    expect(special({ tokenizerConfig: { x: 1 }, chatTemplate: 'T' })).toEqual([['chat_template', 'T']]);
    expect(special({ tokenizerConfig: { chat_template: 'C' }, chatTemplate: 'T' })).toEqual([
      ['chat_template', 'C'],
    ]);
    expect(special({ chatTemplate: 'T' })).toEqual([]); // as the converter: not without tokenizer_config.json
    const named = [
      { name: 'default', template: 'D' },
      { name: 'tool use', template: 'U' },
    ];
    expect(special({ tokenizerConfig: { chat_template: named } })).toEqual([
      ['chat_template.tool_use', 'U'],
      ['chat_templates', ['tool_use']],
      ['chat_template', 'D'],
    ]);
  });

  it('of CodeLlama and Granite have settings known by vocabulary size', () => {
    const tokenizer = bpeTokenizer(['a']);
    expect(vocabularyOf({ tokenizer }, 32_016).values.eot_token_id).toBe(32_010);
    expect(vocabularyOf({ tokenizer }, 49_152).values.add_bos_token).toBe(false);
  });
});
