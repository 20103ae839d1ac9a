import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readSentencePiece } from '../../../src/plan/tokenizer/sentencepiece.ts';
import { TokenizerError } from '../../../src/plan/tokenizer/types.ts';
import { bytesField, pieceMessage, sentencePieceModel, varint } from '../../support/sentencepiece.ts';
import { bpeTokenizer } from '../../support/synthetic.ts';
import { vocabularyOf } from './vocabulary.ts';

describe('tokenizer.model', () => {
  const pieces = [
    { text: '<unk>', score: 0, type: 2 },
    { text: '<s>', score: 0, type: 3 },
    { text: '<0x41>', score: 0, type: 6 },
    { text: '▁the', score: -1.5 },
    { text: 'user', score: -2, type: 4 },
    { text: 'unused', score: 0, type: 5 },
  ];
  const tokenizerModel = sentencePieceModel(pieces);

  it('gives texts, scores and types; other files are laid over it', () => {
    const { values, warnings } = vocabularyOf(
      {
        tokenizerModel,
        tokenizer: bpeTokenizer(['a']), // tokenizer.model goes before it
        addedTokens: { '<add>': 7, '<far>': 99 },
        tokenizerConfig: {
          added_tokens_decoder: {
            1: { content: '<bos>', special: true },
            8: { content: '▁x', special: false },
            9: { content: '<|y|>', special: false },
          },
        },
      },
      11,
    );
    expect(values.tokens).toEqual([
      '<unk>',
      '<bos>',
      '<0x41>',
      '▁the',
      'user',
      'unused',
      '[PAD6]',
      '<add>',
      ' x',
      '<|y|>',
      '[PAD10]',
    ]);
    expect(values.token_type).toEqual([2, 3, 6, 1, 1, 5, 5, 4, 4, 3, 5]);
    expect(values.scores).toEqual([0, -1000, 0, -1.5, -2, 0, -10_000, -1000, -1000, -1000, -10_000]);
    expect(values).toMatchObject({ model: 'llama', pre: 'default' });
    expect(warnings).toEqual(["1 tokens beyond the model's 11 embeddings were left out"]);
  });

  it('is passed over when it is a tiktoken file beside a tokenizer.json', () => {
    const tiktoken = new TextEncoder().encode('IQ== 0\nIg== 1\n');
    const { values, warnings } = vocabularyOf(
      { tokenizerModel: tiktoken, tokenizer: bpeTokenizer(['a']) },
      1,
    );
    expect(values.model).toBe('gpt2');
    expect(warnings.join()).toMatch(/tiktoken/);
    expect(() => vocabularyOf({ tokenizerModel: tiktoken }, 1)).toThrow(TokenizerError);
  });

  it('says when llama.cpp will split otherwise', () => {
    const unigram = Uint8Array.from(bytesField(1, pieceMessage({ text: 'a' })));
    expect(vocabularyOf({ tokenizerModel: unigram }, 1).warnings.join()).toMatch(/not of the BPE kind/);
    const bare = sentencePieceModel(pieces, false);
    expect(vocabularyOf({ tokenizerModel: bare }, 6).warnings.join()).toMatch(/no space before/);
  });

  it.each<[string, readonly number[], RegExp]>([
    ['empty', [], /no pieces/],
    ['a Git LFS pointer', [...new TextEncoder().encode('version https://git-lfs')], /damaged/],
    ['cut inside a piece', bytesField(1, pieceMessage({ text: 'abc' })).slice(0, -1), /runs past the end/],
    ['a length near 2^63', [10, 255, 255, 255, 255, 255, 255, 255, 255, 127, 1], /runs past the end/],
    ['an endless number', new Array(12).fill(255), /more than ten bytes/],
    ['a number cut off', [10, 128], /runs past the end/],
    ['field number zero', [2, 0], /field number 0/],
    ['a group, which proto3 has not', [11], /wire type 3/],
    ['text that is no UTF-8', bytesField(1, bytesField(1, [0xff, 0xfe])), /UTF-8/],
    ['a type that does not exist', bytesField(1, pieceMessage({ text: 'a', type: 9 })), /a type/],
  ])('damaged: %s', (_, bytes, message) => {
    const run = () => readSentencePiece(Uint8Array.from(bytes), 'tokenizer.model');
    expect(run).toThrow(TokenizerError);
    expect(run).toThrow(message);
  });

  it('any bytes give a model or a TokenizerError', () => {
    const mutated = fc
      .array(fc.tuple(fc.nat(tokenizerModel.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 })
      .map((edits) => {
        const bytes = tokenizerModel.slice();
        for (const [at, byte] of edits) bytes[at] = byte;
        return bytes;
      });
    fc.assert(
      fc.property(fc.oneof(mutated, fc.uint8Array({ maxLength: 60 })), (bytes) => {
        try {
          expect(readSentencePiece(bytes, 'f').pieces.length).toBeGreaterThan(0);
        } catch (error) {
          expect(error).toBeInstanceOf(TokenizerError);
        }
      }),
      { seed: 2, numRuns: 500 },
    );
  });

  it('numbers of more than one byte are read', () => {
    const text = 'x'.repeat(300);
    expect(varint(300)).toEqual([0xac, 0x02]);
    expect(readSentencePiece(sentencePieceModel([{ text }]), 'f').pieces[0].text).toBe(text);
  });
});
