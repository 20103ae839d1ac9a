import type { ModelFiles } from '../../core/model-files.ts';
import { asArray, asInteger, asObject, asString, objectsIn, tokenText } from '../json.ts';

export interface AddedToken {
  readonly text: string;
  readonly special: boolean;
  /** Whether it is matched in normalized text. */
  readonly normalized: boolean;
}

const NAMED = ['bos_token', 'eos_token', 'unk_token', 'sep_token', 'pad_token', 'cls_token', 'mask_token'];

/** Special tokens that the configuration names, in transformers' order: texts, without ids. */
export function namedSpecialTokens(files: ModelFiles): string[] {
  const { tokenizerConfig: config, specialTokensMap: map } = files;
  // Classes of the Llama family have these by default.
  const isLlama = /^(Code)?Llama/.test(asString(config?.tokenizer_class) ?? '');
  const defaults: Record<string, string> = isLlama
    ? { bos_token: '<s>', eos_token: '</s>', unk_token: '<unk>' }
    : {};
  const named = NAMED.flatMap((key) => {
    const value = config?.[key] !== undefined ? config[key] : map?.[key];
    return tokenText(value === undefined ? (defaults[key] ?? null) : value) ?? [];
  });
  const more = ['additional_special_tokens', 'extra_special_tokens'].flatMap((key) =>
    (asArray(config?.[key]) ?? asArray(map?.[key]) ?? []).flatMap((value) => tokenText(value) ?? []),
  );
  return [...new Set([...named, ...more])];
}

/**
 * Tokens beside the model's own vocabulary, by id, as the fast tokenizer of transformers ends up with them: those
 * of tokenizer.json, then those that only tokenizer_config.json lists, then named special tokens that are still
 * missing. A token without an id of its own takes the one the vocabulary gives it, or the next free one.
 *
 * @param vocabulary the model's own tokens: text to id
 * @param size how many those are
 */
export function addedTokens(
  files: ModelFiles,
  vocabulary: Readonly<Record<string, number>>,
  size: number,
): Map<number, AddedToken> {
  const added = new Map<number, AddedToken>();
  const texts = new Set<string>();
  let next = size;
  const add = (text: string, special: boolean, normalized: boolean, knownId: number | null) => {
    if (texts.has(text)) return;
    const id = knownId ?? (Object.hasOwn(vocabulary, text) ? vocabulary[text] : next);
    added.set(id, { text, special, normalized });
    texts.add(text);
    next = Math.max(next, id + 1);
  };
  for (const token of objectsIn(files.tokenizer?.added_tokens)) {
    const text = asString(token.content);
    const id = asInteger(token.id);
    if (text !== null && id !== null) {
      add(text, token.special === true, token.normalized !== false, id);
    }
  }
  const listed = Object.entries(asObject(files.tokenizerConfig?.added_tokens_decoder) ?? {})
    .map(([id, value]) => ({ id: Number(id), token: asObject(value) }))
    .sort((a, b) => a.id - b.id);
  for (const { token } of listed) {
    const text = tokenText(token);
    if (text !== null) add(text, token?.special === true, token?.normalized !== false, null);
  }
  for (const text of namedSpecialTokens(files)) add(text, true, false, null);
  return added;
}
