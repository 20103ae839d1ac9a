import { join } from 'node:path';
import type { JsonObject, ModelFiles } from '../../core/model-files.ts';
import type { Architecture, VocabularySource } from '../arch/architecture.ts';
import type { ModelConfig } from '../config.ts';
import { asString } from '../json.ts';
import type { MetadataBuilder } from '../metadata-builder.ts';
import { bpeModel, bpeVocabulary } from './bpe.ts';
import { isLlamaBpe, llamaBpeVocabulary } from './llama-hf.ts';
import { addsBosByDefault, preTokenizerName } from './pre.ts';
import { isTiktoken, readSentencePiece, sentencePieceVocabulary } from './sentencepiece.ts';
import { addSpecialTokens } from './special.ts';
import { separateDuplicates, TokenizerError, type Vocabulary } from './types.ts';

interface VocabularyOptions {
  readonly pre: string | undefined;
  readonly warn: (sentence: string) => void;
}

/** Writes one kind of vocabulary if the files hold it; false if they do not. */
type Writer = (context: Context) => boolean;

interface Context {
  readonly metadata: MetadataBuilder;
  readonly files: ModelFiles;
  /** Rows of the embedding, which is how many tokens llama.cpp wants. */
  readonly rows: number;
  readonly options: VocabularyOptions;
}

/** Vocabulary sizes that mark two model families with settings their files do not have (`LlamaModel.set_vocab`). */
const CODE_LLAMA_SIZE = 32_016;
const GRANITE_SIZE = 49_152;

/**
 * Writes all `tokenizer.*` keys. Precedence is that of the converter's class: for the Llama family tokenizer.model,
 * then a SentencePiece-like tokenizer.json, then byte-level BPE; for Qwen the first and the last.
 *
 * @throws TokenizerError when no usable tokenizer lies beside the model
 */
export function addVocabulary(
  metadata: MetadataBuilder,
  architecture: Architecture,
  config: ModelConfig,
  files: ModelFiles,
  options: VocabularyOptions,
): void {
  const isLlama = architecture.vocabulary.includes('llama-hf');
  const addsSpace = files.tokenizerConfig?.add_prefix_space;
  if (isLlama && typeof addsSpace === 'boolean') {
    metadata.set('tokenizer.ggml.add_space_prefix', 'BOOL', addsSpace);
  }
  const rows = config.count(['vocab_size']);
  const context = { metadata, files, rows, options };
  if (!architecture.vocabulary.some((source) => writers[source](context))) throw noTokenizer(files);

  if (isLlama && rows === CODE_LLAMA_SIZE) {
    addSpecialTokens(metadata, files, {
      kinds: ['prefix', 'suffix', 'middle', 'eot'],
      fallbackIds: { eot: 32_010 },
    });
  }
  if (isLlama && rows === GRANITE_SIZE) metadata.set('tokenizer.ggml.add_bos_token', 'BOOL', false);
}

const writers: Record<VocabularySource, Writer> = {
  sentencepiece({ metadata, files, rows, options }) {
    const { tokenizerModel } = files;
    if (tokenizerModel === null) return false;
    if (isTiktoken(tokenizerModel) && files.tokenizer !== null) {
      options.warn('tokenizer.model is a tiktoken file and was passed over for tokenizer.json');
      return false;
    }
    const model = readSentencePiece(tokenizerModel, join(files.directory, 'tokenizer.model'));
    if (model.modelType !== 2) {
      options.warn('tokenizer.model is not of the BPE kind: llama.cpp may split some words differently');
    }
    if (!model.addsDummyPrefix && !metadata.has('tokenizer.ggml.add_space_prefix')) {
      options.warn(
        'tokenizer.model puts no space before a text; llama.cpp will, as the converter does not say',
      );
    }
    const vocabulary = sentencePieceVocabulary(files, model, rows, options.warn);
    write(metadata, 'llama', 'default', vocabulary, options);
    addSpecialTokens(metadata, files, { vocabularySize: rows });
    return true;
  },
  'llama-hf'({ metadata, files, rows, options }) {
    const model = bpeModel(files);
    if (model === null || !isLlamaBpe(files, model)) return false;
    write(metadata, 'llama', 'default', llamaBpeVocabulary(files, model, rows, options.warn), options);
    addSpecialTokens(metadata, files, { vocabularySize: rows });
    return true;
  },
  bpe({ metadata, files, rows, options }) {
    const model = bpeModel(files);
    if (model === null || files.tokenizer === null) return false;
    const file = join(files.directory, 'tokenizer.json');
    const pre = options.pre ?? preTokenizerName(files, files.tokenizer, file);
    write(metadata, 'gpt2', pre, bpeVocabulary(files, model, rows, options.warn), options);
    addSpecialTokens(metadata, files, { merges: true });
    if (addsBosByDefault(pre) && !metadata.has('tokenizer.ggml.add_bos_token')) {
      metadata.set('tokenizer.ggml.add_bos_token', 'BOOL', false);
    }
    return true;
  },
};

function write(
  metadata: MetadataBuilder,
  model: string,
  pre: string,
  vocabulary: Vocabulary,
  options: VocabularyOptions,
): void {
  separateDuplicates(vocabulary, options.warn);
  metadata.set('tokenizer.ggml.model', 'STRING', model);
  metadata.set('tokenizer.ggml.pre', 'STRING', pre);
  metadata.array('tokenizer.ggml.tokens', 'STRING', vocabulary.tokens);
  if (vocabulary.scores) metadata.array('tokenizer.ggml.scores', 'FLOAT32', vocabulary.scores);
  metadata.array('tokenizer.ggml.token_type', 'INT32', vocabulary.types);
}

function noTokenizer(files: ModelFiles): TokenizerError {
  const model = files.tokenizer?.model as JsonObject | undefined;
  return new TokenizerError('no tokenizer that can be converted lies beside the model', {
    file: files.directory,
    expected: 'tokenizer.model (SentencePiece) or tokenizer.json with a BPE model',
    got:
      files.tokenizer === null
        ? 'neither'
        : `tokenizer.json with a model of type ${asString(model?.type) ?? 'unknown'}`,
    advice: 'put the tokenizer files its author published into the directory',
  });
}
