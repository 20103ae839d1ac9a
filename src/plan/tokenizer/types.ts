import { listed, QuantizeError } from '../../core/errors.ts';

/** Kinds of token in GGUF (`gguf.TokenType`). */
export const tokenTypes = {
  normal: 1,
  unknown: 2,
  control: 3,
  userDefined: 4,
  unused: 5,
  byte: 6,
} as const;

/** The tokenizer's files are missing, damaged or of a form that cannot be converted. */
export class TokenizerError extends QuantizeError {}

/** Tokens by id, with what llama.cpp stores of each. */
export interface Vocabulary {
  readonly tokens: string[];
  readonly types: Int32Array;
  /** Absent for byte-level BPE, which ranks merges instead. */
  readonly scores?: Float32Array;
}

/** Text of an id that no token has. */
export const padding = (id: number): string => `[PAD${id}]`;

/** Tokens that some models forget to mark as special (`does_token_look_special`). */
export function looksSpecial(text: string): boolean {
  return (
    ['<pad>', '<mask>', '<2mass>', '[@BOS@]'].includes(text) ||
    (text.startsWith('<|') && text.endsWith('|>')) ||
    (text.startsWith('<｜') && text.endsWith('｜>')) ||
    (text.startsWith('<unused') && text.endsWith('>'))
  );
}

/**
 * llama.cpp stops at a text that two ids share. The later one, which the tokenizer cannot produce, becomes
 * an unused token of its own name.
 */
export function separateDuplicates(vocabulary: Vocabulary, warn: (sentence: string) => void): void {
  const { tokens, types } = vocabulary;
  const seen = new Set<string>();
  const renamed: number[] = [];
  for (const [id, text] of tokens.entries()) {
    if (!seen.has(text)) {
      seen.add(text);
      continue;
    }
    let name = padding(id);
    while (seen.has(name)) name += '_';
    tokens[id] = name;
    types[id] = tokenTypes.unused;
    seen.add(name);
    renamed.push(id);
  }
  if (renamed.length > 0) {
    warn(
      `${renamed.length} tokens have the text of an earlier one, which llama.cpp does not allow, and were renamed ` +
        `[PAD...]: ids ${listed(renamed.map(String), 5)}`,
    );
  }
}
