import { describe, expect, it } from 'vitest';
import type { JsonObject } from '../../src/core/model-files.ts';
import { generalMetadata, sizeLabel } from '../../src/plan/metadata.ts';
import { MetadataBuilder } from '../../src/plan/metadata-builder.ts';
import { readModelCard } from '../../src/plan/model-card.ts';
import { nameParts, titleOf } from '../../src/plan/model-name.ts';
import { modelFiles, valuesByKey } from '../support/synthetic.ts';

const dense = (total: number) => ({ total, shared: total, expert: 0, experts: 0 });

/** `general.*` values, keys without the prefix. */
function general(
  parts: { readme?: string; config?: JsonObject; generationConfig?: JsonObject; directory?: string },
  parameters = 7e9,
) {
  const metadata = new MetadataBuilder();
  generalMetadata(metadata, modelFiles({ directory: '/models/tiny', ...parts }), dense(parameters));
  const values = Object.entries(valuesByKey(metadata.entries()));
  return Object.fromEntries(values.map(([key, value]) => [key.slice('general.'.length), value]));
}

// Expected values here are what gguf-py's metadata.py and utility.py give.
describe('names', () => {
  it.each<[string, number, (string | null)[]]>([
    // organization, basename, size, finetune, version
    ['meta-llama/Llama-2-7b-chat-hf', 6.7e9, ['meta-llama', 'Llama-2', '7B', 'chat-hf', null]],
    ['Mistral-7B-Instruct-v0.2', 7.2e9, [null, 'Mistral', '7B', 'Instruct', 'v0.2']],
    ['Phi-3-mini-128k-instruct', 3.8e9, [null, 'Phi-3', 'mini', '128k-instruct', null]],
    ['Mixtral-8x7B-v0.1', 46e9, [null, 'Mixtral', '8x7B', null, 'v0.1']],
    ['bloom-7b1', 7e9, [null, 'bloom', '7.1B', null, null]],
    ['checkpoint', 7e9, [null, null, null, null, null]],
    ['./Qwen2.5-0_5B', 0, [null, 'Qwen2.5', '0.5B', null, null]],
    ['a whole sentence', 7e9, [null, null, null, null, null]],
  ])('%s', (id, parameters, expected) => {
    const { organization, basename, sizeLabel, finetune, version } = nameParts(id, parameters);
    expect([organization, basename, sizeLabel, finetune, version]).toEqual(expected);
  });

  it.each([
    ['llama-2-7b-hf', 'Llama 2 7b Hf'],
    ['tiny--GPT-v0.2', 'Tiny GPT v0.2'],
    ["o'neill's-3b", "O'Neill'S 3b"],
  ])('%s as a title', (name, title) => {
    expect(titleOf(name)).toBe(title);
  });

  it.each([
    [2_230_000, '2.2M'],
    [12_500_000, '12M'], // a tie goes to the even digit
    [13_500_000, '14M'],
    [2_250_000, '2.2M'],
    [1_150_000, '1.1M'], // no tie: 1.15 is a little less in binary
    [1_000_000, '1000K'],
    [400, '0.40K'],
    [6_900_000_000, '6.9B'],
    [1_500_000_000_000, '1.5T'],
  ])('%i weights are %s', (total, label) => {
    expect(sizeLabel(dense(total))).toBe(label);
  });

  it('experts count apart', () => {
    expect(sizeLabel({ total: 9, shared: 1_400_000, expert: 400_000, experts: 8 })).toBe('8x1.8M');
  });
});

describe('model card', () => {
  const card = (...lines: string[]) => Object.fromEntries(readModelCard(lines.join('\n')));

  it('scalars in every notation', () => {
    expect(
      card(
        'license: apache-2.0 # comment',
        `license_name: 'it''s'`,
        'license_link: "a \\"b\\""',
        'author: C# person',
        'version: 1.0',
        'folded: >-',
        '  one',
        '  two',
        'literal: |',
        '  one',
        '  two',
        'empty:',
        'none: ~',
        'inline: {a: b}',
      ),
    ).toEqual({
      license: 'apache-2.0',
      license_name: "it's",
      license_link: 'a "b"',
      author: 'C# person',
      version: '1.0',
      folded: 'one two',
      literal: 'one\ntwo\n',
    });
  });

  it('lists in both notations, nested mappings skipped', () => {
    expect(
      card(
        'tags: [a, "b c", \'d, e\']',
        'language:',
        '- en # English',
        '- "no"',
        'datasets:',
        '  - x/y',
        '',
        '  - z',
        'widget:',
        '- text: hello',
        '  example: x',
        'model-index:',
        '  name: foo',
        '  results:',
        '  - task: y',
        'license: mit',
      ),
    ).toEqual({
      tags: ['a', 'b c', 'd, e'],
      language: ['en', 'no'],
      datasets: ['x/y', 'z'],
      widget: [],
      license: 'mit',
    });
  });

  it.each([null, '', '\n', '# comment\n'])('none in %j', (readme) => {
    expect(readModelCard(readme).size).toBe(0);
  });
});

describe('general metadata', () => {
  it('of a directory without a card', () => {
    expect(general({ directory: '/x/tiny-stories-v2/' })).toEqual({
      name: 'Tiny Stories v2',
      version: 'v2',
      basename: 'tiny-stories',
      size_label: '7.0B',
    });
  });

  it('prefers the card, then _name_or_path, then the directory', () => {
    const readme = 'model_name: Card Name\n';
    expect(general({ readme, config: { _name_or_path: 'acme/Foo-7B-chat' } })).toEqual({
      name: 'Card Name',
      organization: 'Acme',
      finetune: 'chat',
      basename: 'Foo',
      size_label: '7B',
    });
    expect(general({ config: { _name_or_path: '/home/me/foo' } }).name).toBe('Tiny');
  });

  it('lineage, tags and languages', () => {
    const readme = [
      'license: [mit, apache-2.0]',
      'base_model:',
      '- meta-llama/Llama-2-7b-hf',
      '- https://huggingface.co/Qwen/Qwen3-8B-v2',
      '- https://example.com/a',
      'datasets: acme/tales',
      'tags: [a]',
      'pipeline_tag: text-generation',
      'language: en',
    ].join('\n');
    expect(general({ readme })).toEqual({
      name: 'Tiny',
      size_label: '7.0B',
      license: 'mit,apache-2.0',
      'base_model.count': 3,
      'base_model.0.name': 'Llama 2 7b Hf',
      'base_model.0.organization': 'Meta Llama',
      'base_model.0.repo_url': 'https://huggingface.co/meta-llama/Llama-2-7b-hf',
      'base_model.1.name': 'Qwen3 8B v2',
      'base_model.1.version': 'v2',
      'base_model.1.organization': 'Qwen',
      'base_model.1.repo_url': 'https://huggingface.co/Qwen/Qwen3-8B-v2',
      'base_model.2.repo_url': 'https://example.com/a',
      'dataset.count': 1,
      'dataset.0.name': 'Tales',
      'dataset.0.organization': 'Acme',
      'dataset.0.repo_url': 'https://huggingface.co/acme/tales',
      tags: ['a', 'text-generation'],
      languages: ['en'],
    });
  });

  it('sampling from generation_config.json', () => {
    const generationConfig = {
      temperature: 0.6,
      top_k: 20,
      top_p: null,
      repetition_penalty: 1.1,
      do_sample: true,
    };
    expect(general({ generationConfig })).toMatchObject({
      'sampling.top_k': 20,
      'sampling.temp': 0.6,
      'sampling.penalty_repeat': 1.1,
    });
    expect(general({ generationConfig })).not.toHaveProperty(['sampling.top_p']);
  });
});
