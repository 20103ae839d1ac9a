export type JsonValue = null | boolean | number | string | readonly JsonValue[] | JsonObject;
export interface JsonObject {
  readonly [key: string]: JsonValue;
}

/** What lies beside the weights of a Hugging Face checkpoint; a file that is not there is null. */
export interface ModelFiles {
  /** Directory the files were found in. */
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
  /** added_tokens.json: text to id. */
  readonly addedTokens: JsonObject | null;
  /** Text of chat_template.jinja, or the template in chat_template.json. */
  readonly chatTemplate: string | null;
  /** Bytes of tokenizer.model. */
  readonly tokenizerModel: Uint8Array | null;
  /** README.md, the model card. */
  readonly readme: string | null;
}
