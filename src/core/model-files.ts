/** A value as `JSON.parse` gives it. */
export type JsonValue = null | boolean | number | string | readonly JsonValue[] | JsonObject;

/** A JSON object. Keys come from files, so any key may be missing, and `__proto__` is a key like any other. */
export interface JsonObject {
  readonly [key: string]: JsonValue | undefined;
}

/** The files that stand beside a model's weights: configuration, tokenizer, model card. Null where absent. */
export interface ModelFiles {
  readonly directory: string;
  /** config.json */
  readonly config: JsonObject | null;
  /** generation_config.json */
  readonly generationConfig: JsonObject | null;
  /** tokenizer.json */
  readonly tokenizer: JsonObject | null;
  /** tokenizer_config.json */
  readonly tokenizerConfig: JsonObject | null;
  /** special_tokens_map.json */
  readonly specialTokensMap: JsonObject | null;
  /** added_tokens.json */
  readonly addedTokens: JsonObject | null;
  /** chat_template.jinja, or else the `chat_template` of chat_template.json. */
  readonly chatTemplate: string | null;
  /** Raw bytes of tokenizer.model (a SentencePiece protobuf). */
  readonly tokenizerModel: Uint8Array | null;
  /** Front matter of README.md: the YAML text between its `---` lines, without them. */
  readonly readme: string | null;
}
