import type { JsonObject, JsonValue, ModelFiles } from '../../core/model-files.ts';
import { asArray, asObject, asString, objectsIn, tokenText } from '../json.ts';
import type { MetadataBuilder } from '../metadata-builder.ts';

/** GGUF keys after `tokenizer.ggml.` for the ids of special tokens; kinds without one are not written. */
const ID_KEYS: Readonly<Record<string, string>> = {
  bos: 'bos_token_id',
  eos: 'eos_token_id',
  unk: 'unknown_token_id',
  sep: 'seperator_token_id', // so spelled in GGUF
  pad: 'padding_token_id',
  mask: 'mask_token_id',
  eot: 'eot_token_id',
  eom: 'eom_token_id',
};
const ADD_KEYS: Readonly<Record<string, string>> = {
  bos: 'add_bos_token',
  eos: 'add_eos_token',
  sep: 'add_sep_token',
};

export interface SpecialOptions {
  /** Write the merges of tokenizer.json. */
  readonly merges?: boolean;
  /** Ids from here on are not written. */
  readonly vocabularySize?: number;
  /** Kinds of special token to look for. */
  readonly kinds?: readonly string[];
  /** Ids for kinds that the files do not give. */
  readonly fallbackIds?: Readonly<Record<string, number>>;
}

const KINDS = ['bos', 'eos', 'unk', 'sep', 'pad', 'cls', 'mask'];

/**
 * Writes merges, ids of special tokens, whether the tokenizer adds them, the chat template and normalizer flags:
 * what `SpecialVocab` of gguf-py finds in tokenizer.json, tokenizer_config.json and config.json, in its order.
 */
export function addSpecialTokens(
  metadata: MetadataBuilder,
  files: ModelFiles,
  options: SpecialOptions = {},
): void {
  const found = new SpecialTokens(files, options);
  if (options.merges) metadata.array('tokenizer.ggml.merges', 'STRING', mergesOf(files.tokenizer));
  for (const [kind, id] of found.ids) {
    if (ID_KEYS[kind] !== undefined) metadata.set(`tokenizer.ggml.${ID_KEYS[kind]}`, 'UINT32', id);
  }
  for (const [kind, adds] of found.adds) {
    if (ADD_KEYS[kind] !== undefined) metadata.set(`tokenizer.ggml.${ADD_KEYS[kind]}`, 'BOOL', adds);
  }
  addChatTemplate(metadata, found.chatTemplate);
  for (const [flag, value] of normalizerFlags(files.tokenizer?.normalizer)) {
    metadata.set(`tokenizer.ggml.normalizer.${flag}`, 'BOOL', value);
  }
}

/** tokenizer_config.json while what the post-processor says is laid over it. */
type MutableConfig = Record<string, JsonValue | undefined>;

class SpecialTokens {
  readonly ids = new Map<string, number>();
  readonly adds = new Map<string, boolean>();
  chatTemplate: JsonValue = null;
  readonly #size: number;
  #kinds: readonly string[];

  constructor(files: ModelFiles, options: SpecialOptions) {
    this.#size = options.vocabularySize ?? Number.POSITIVE_INFINITY;
    this.#kinds = options.kinds ?? KINDS;
    // The post-processor can correct what the configuration says: work on a copy. An empty one counts as none.
    const given = files.tokenizerConfig;
    const config = given !== null && Object.keys(given).length > 0 ? { ...given } : null;
    if (files.tokenizer !== null) this.#readPostProcessor(files.tokenizer, config);
    if (config !== null) this.#readConfig(config, files);
    const nested = asObject(files.config?.text_config);
    for (const kind of this.#kinds) {
      this.#setId(kind, files.config?.[`${kind}_token_id`] ?? nested?.[`${kind}_token_id`]);
    }
    for (const [kind, id] of Object.entries(options.fallbackIds ?? {})) this.#setId(kind, id);
  }

  #setId(kind: string, id: JsonValue | undefined): void {
    if (typeof id !== 'number' || !Number.isInteger(id) || id < 0 || id >= this.#size) return;
    if (!this.ids.has(kind)) this.ids.set(kind, id);
  }

  #readConfig(config: MutableConfig, files: ModelFiles): void {
    const template = config.chat_template === undefined ? files.chatTemplate : config.chat_template;
    if (typeof template === 'string' || Array.isArray(template)) this.chatTemplate = template;
    const added = objectsIn(files.tokenizer?.added_tokens);
    for (const kind of this.#kinds) {
      const adds = config[`add_${kind}_token`];
      if (typeof adds === 'boolean') this.adds.set(kind, adds);
      const text = tokenText(config[`${kind}_token`]);
      if (text !== null) this.#setId(kind, added.find((token) => token.content === text)?.id);
    }
  }

  /** Which special tokens the tokenizer puts around a text, and which texts that makes bos, eos and sep. */
  #readPostProcessor(tokenizer: JsonObject, config: MutableConfig | null): void {
    const names: Names = {
      bos: config?.bos_token || null,
      cls: config?.cls_token || null,
      eos: config?.eos_token || null,
      sep: config?.sep_token || null,
    };
    if (config !== null) {
      if (names.bos === null && names.cls !== null) config.bos_token = names.bos = names.cls;
      if (names.eos === null && names.sep !== null) config.eos_token = names.eos = names.sep;
    }
    const processor = asObject(tokenizer.post_processor);
    if (processor === null) return;
    const processors = asArray(processor.processors) === null ? [processor] : objectsIn(processor.processors);
    for (const one of processors) {
      if (one.type === 'RobertaProcessing') {
        for (const kind of ['bos', 'eos', 'sep']) this.adds.set(kind, true);
        if (config !== null) {
          if (names.cls === null) config.cls_token = names.cls = asArray(one.cls)?.[0] ?? names.bos;
          if (names.sep === null) config.sep_token = names.sep = asArray(one.sep)?.[0] ?? names.eos;
        }
      } else if (one.type === 'TemplateProcessing') {
        this.#readTemplate(objectsIn(one.single), objectsIn(one.pair), names, config);
      }
    }
  }

  #readTemplate(
    single: readonly JsonObject[],
    pair: readonly JsonObject[],
    names: Names,
    config: MutableConfig | null,
  ): void {
    const first = single.length > 1 ? specialId(single[0]) : null;
    const last = single.length > 1 ? specialId(single.at(-1)) : null;
    if (first !== null) {
      if (config === null) {
        names.bos = first;
      } else if (first !== names.bos && first !== names.cls) {
        if (names.bos === null) config.bos_token = names.bos = first;
        if (names.cls === null) config.cls_token = names.cls = first;
      }
      this.adds.set('bos', first === names.bos || first === names.cls);
    }
    if (last !== null) {
      if (config === null) {
        names.eos = last;
      } else if (last !== names.eos) {
        // What was called eos ends a turn or a message; the template's last token ends the text.
        const other = ['eot', 'eom'].find((kind) => !this.#kinds.includes(kind));
        if (other !== undefined) {
          this.#kinds = [...this.#kinds, other];
          config[`${other}_token`] = names.eos;
        }
        config.eos_token = names.eos = last;
      }
      this.adds.set('eos', true);
    }
    this.#readPair(pair, { first, last }, names, config);
  }

  /** Whether a separator stands between two texts: A [sep] B, or A [eos] [sep] B. */
  #readPair(
    pair: readonly JsonObject[],
    ends: { first: string | null; last: string | null },
    names: Names,
    config: MutableConfig | null,
  ): void {
    const start = ends.first !== null && specialId(pair[0]) === ends.first ? 1 : 0;
    const stop = ends.last !== null && specialId(pair.at(-1)) === ends.last ? -1 : undefined;
    const inner = pair.slice(start, stop);
    if (sequenceId(inner[0]) !== 'A' || sequenceId(inner.at(-1)) !== 'B') return;
    const between = inner.slice(1, -1);
    if (between.length === 0) return;
    const separates = (item: JsonObject) => {
      const id = specialId(item);
      return id !== null && (id === names.sep || id === names.eos);
    };
    const adds =
      (separates(between[0]) && ends.last === null) || (between.length === 2 && separates(between[1]));
    this.adds.set('sep', adds);
    if (adds && names.sep === null && config !== null) config.sep_token = names.eos;
  }
}

/** Names as the configuration has them: texts, or objects, which equal no text. */
type Names = Record<'bos' | 'cls' | 'eos' | 'sep', JsonValue>;

const specialId = (item: JsonObject | undefined): string | null =>
  asString(asObject(item?.SpecialToken)?.id) || null;

const sequenceId = (item: JsonObject | undefined): string | null => asString(asObject(item?.Sequence)?.id);

/** Merges as "left right". Spaces inside a part, which the newer form allows, become Ġ. */
function mergesOf(tokenizer: JsonObject | null): string[] {
  const merges = asArray(asObject(tokenizer?.model)?.merges) ?? [];
  if (typeof merges[0] === 'string') return merges as string[];
  return merges.map((pair) =>
    (asArray(pair) ?? []).map((part) => String(part).replaceAll(' ', '\u0120')).join(' '),
  );
}

function addChatTemplate(metadata: MetadataBuilder, template: JsonValue): void {
  if (typeof template === 'string') {
    metadata.set('tokenizer.chat_template', 'STRING', template);
    return;
  }
  const names: string[] = [];
  let byDefault = '';
  for (const choice of objectsIn(template)) {
    const name = (asString(choice.name) ?? '').replace(/[^A-Za-z0-9]/g, '_');
    const text = asString(choice.template);
    if (name === '' || text === null) continue;
    if (name === 'default') {
      byDefault = text;
      continue;
    }
    if (!names.includes(name)) names.push(name);
    metadata.set(`tokenizer.chat_template.${name}`, 'STRING', text);
  }
  metadata.array('tokenizer.chat_templates', 'STRING', names);
  metadata.set('tokenizer.chat_template', 'STRING', byDefault);
}

function normalizerFlags(value: JsonValue | undefined): Map<string, boolean> {
  const flags = new Map<string, boolean>();
  const read = (normalizer: JsonObject | null) => {
    if (normalizer?.type === 'Lowercase') flags.set('lowercase', true);
    if (normalizer?.type === 'StripAccents') flags.set('strip_accents', true);
    if (normalizer?.type === 'BertNormalizer') {
      for (const flag of ['lowercase', 'strip_accents']) {
        const on = normalizer[flag];
        if (typeof on === 'boolean') flags.set(flag, on);
      }
    }
    if (normalizer?.type === 'Sequence') for (const one of objectsIn(normalizer.normalizers)) read(one);
  };
  read(asObject(value));
  return new Map([...flags].sort(([a], [b]) => (a < b ? -1 : 1)));
}
