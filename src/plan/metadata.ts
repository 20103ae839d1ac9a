import { basename, resolve } from 'node:path';
import type { MappedTensor } from '../core/model.ts';
import type { ModelFiles } from '../core/model-files.ts';
import { asString } from './json.ts';
import type { MetadataBuilder } from './metadata-builder.ts';
import { type ModelCard, readModelCard } from './model-card.ts';
import { type NameParts, nameParts, titleOf } from './model-name.ts';

/** Weights in all; in what every token passes; in one expert of each stack; and the mean number of experts. */
export interface ParameterCount {
  readonly total: number;
  readonly shared: number;
  readonly expert: number;
  readonly experts: number;
}

/** As `GGUFWriter.get_total_parameter_count`. */
export function parameterCount(tensors: readonly MappedTensor[]): ParameterCount {
  let [total, shared, expert, experts, stacks] = [0, 0, 0, 0, 0];
  for (const { name, shape } of tensors) {
    const size = shape.reduce((product, extent) => product * extent, 1);
    total += size;
    if (name.includes('_exps.') && shape.length >= 3) {
      expert += size / shape[2];
      experts += shape[2];
      stacks++;
    } else {
      shared += size;
    }
  }
  return { total, shared, expert, experts: stacks > 0 ? Math.floor(experts / stacks) : 0 };
}

/** Such as 2.1M or 8x1.8M (`size_label` in gguf-py/gguf/utility.py). */
export function sizeLabel({ total, shared, expert, experts }: ParameterCount): string {
  return experts > 0 ? `${experts}x${rounded(shared + expert)}` : rounded(total);
}

/** At least two digits that count, with a letter for the power of a thousand. */
function rounded(parameters: number): string {
  const [scaled, letter] =
    parameters > 1e12
      ? [parameters * 1e-12, 'T']
      : parameters > 1e9
        ? [parameters * 1e-9, 'B']
        : parameters > 1e6
          ? [parameters * 1e-6, 'M']
          : [parameters * 1e-3, 'K'];
  const whole = fixed(scaled, 0).replace(/^0+/, '');
  return fixed(scaled, Math.max(2 - whole.length, 0)) + letter;
}

/** As Python formats: a tie goes to the even digit, where `toFixed` goes up. */
function fixed(value: number, digits: number): string {
  // A binary fraction lies half-way between two decimals only when it is an odd number of 2^-(digits + 1).
  const isTie = Math.abs((value * 2 ** (digits + 1)) % 2) === 1;
  const even = (2 * Math.round((value * 10 ** digits) / 2)) / 10 ** digits;
  return (isTie ? even : value).toFixed(digits);
}

/** Keys of generation_config.json, in the order they are written. */
const SAMPLING = [
  ['sequence', 'STRING', ['sequence']],
  ['top_k', 'INT32', ['top_k']],
  ['top_p', 'FLOAT32', ['top_p']],
  ['min_p', 'FLOAT32', ['min_p']],
  ['xtc_probability', 'FLOAT32', ['xtc_probability']],
  ['xtc_threshold', 'FLOAT32', ['xtc_threshold']],
  ['temp', 'FLOAT32', ['temperature']],
  ['penalty_last_n', 'INT32', ['penalty_last_n']],
  ['penalty_repeat', 'FLOAT32', ['penalty_repeat', 'repetition_penalty']],
  ['mirostat', 'INT32', ['mirostat']],
  ['mirostat_tau', 'FLOAT32', ['mirostat_tau']],
  ['mirostat_eta', 'FLOAT32', ['mirostat_eta']],
] as const;

/** Keys after `general.`, with the names model cards give them, the first that is there winning. */
const AUTHORSHIP = [
  ['name', ['name', 'model_name']],
  ['author', ['author', 'model_author', 'model_creator']],
  ['version', ['version', 'model_version']],
  ['organization', ['organization', 'model_organization']],
  ['finetune', ['finetune', 'model_finetune']],
  ['basename', ['basename', 'model_basename', 'model_type']],
  ['description', ['description', 'model_description']],
  ['size_label', ['size_label', 'model_size_label']],
  ['license', ['license']],
  ['license.name', ['license_name']],
  ['license.link', ['license_link']],
  ['source.url', ['url', 'model_url']],
  ['source.doi', ['doi', 'model_doi']],
  ['source.uuid', ['uuid', 'model_uuid']],
  ['source.repo_url', ['repo_url', 'model_repo_url']],
] as const;

/**
 * Writes `general.sampling.*` from generation_config.json, then name, authorship, licence and lineage from the
 * model card, config.json's `_name_or_path` and the directory's name, in that order of trust, as
 * `Metadata.load` and `set_gguf_meta_model` of gguf-py do.
 */
export function generalMetadata(metadata: MetadataBuilder, files: ModelFiles, count: ParameterCount): void {
  for (const [key, type, names] of SAMPLING) {
    const name = names.find((candidate) => files.generationConfig?.[candidate] !== undefined);
    const value = name === undefined ? undefined : files.generationConfig?.[name];
    const fits =
      type === 'INT32' ? Number.isInteger(value) : typeof value === (type === 'STRING' ? 'string' : 'number');
    if (fits) metadata.set(`general.sampling.${key}`, type, value as number | string);
  }

  const card = readModelCard(files.readme);
  const texts = new Map<string, string>();
  for (const [key, names] of AUTHORSHIP) {
    const name = names.find((candidate) => card.has(candidate));
    const value = name === undefined ? undefined : card.get(name)!;
    if (value !== undefined) texts.set(key, typeof value === 'string' ? value : value.join(','));
  }

  const directory = basename(resolve(files.directory));
  const path = asString(files.config?._name_or_path);
  // A path with more than one slash is a place on some disk, not a name.
  const ids = [...(path !== null && path.split('/').length <= 2 ? [path] : []), directory];
  for (const id of ids) {
    const parts = nameParts(id, count.total);
    const guess = (key: string, value: string | null) => {
      if (value !== null && !texts.has(key)) texts.set(key, value);
    };
    guess('name', parts.fullName === null ? null : titleOf(parts.fullName));
    guess('organization', parts.organization === null ? null : titleOf(parts.organization));
    guess('basename', parts.basename);
    guess('finetune', parts.finetune);
    guess('version', parts.version);
    guess('size_label', parts.sizeLabel);
  }
  if (!texts.has('size_label') && count.total > 0) texts.set('size_label', sizeLabel(count));

  for (const [key] of AUTHORSHIP) metadata.set(`general.${key}`, 'STRING', texts.get(key) ?? '');
  lineage(metadata, card, count.total, 'base_model', ['base_model', 'base_models', 'base_model_sources']);
  lineage(metadata, card, count.total, 'dataset', ['datasets', 'dataset', 'dataset_sources']);
  const tags = listOf(card, 'tags', 'pipeline_tag');
  metadata.array('general.tags', 'STRING', tags);
  metadata.array('general.languages', 'STRING', listOf(card, 'languages', 'language'));
}

const listOf = (card: ModelCard, ...keys: string[]): string[] => keys.flatMap((key) => card.get(key) ?? []);

/** Base models or data sets: their number, then what their names say of each. */
function lineage(
  metadata: MetadataBuilder,
  card: ModelCard,
  parameters: number,
  key: string,
  names: readonly string[],
): void {
  const name = names.find((candidate) => card.has(candidate));
  if (name === undefined) return;
  const sources = listOf(card, name);
  metadata.set(`general.${key}.count`, 'UINT32', sources.length);
  for (const [i, source] of sources.entries()) {
    const isUrl = /^(https?|ssh):\/\//.test(source);
    const id = isUrl ? /^https?:\/\/huggingface\.co\/([^/]+\/[^/]+)$/.exec(source)?.[1] : source;
    const parts: Partial<NameParts> = id === undefined ? {} : nameParts(id, parameters);
    const write = (suffix: string, value: string | null | undefined) =>
      metadata.set(`general.${key}.${i}.${suffix}`, 'STRING', value ?? '');
    write('name', parts.fullName && titleOf(parts.fullName));
    write('version', parts.version);
    write('organization', parts.organization && titleOf(parts.organization));
    if (isUrl) write('repo_url', source);
    else if (parts.organization) {
      write('repo_url', `https://huggingface.co/${parts.organization}/${parts.fullName}`);
    }
  }
}
