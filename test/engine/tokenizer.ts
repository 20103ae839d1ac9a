import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Tokenizer } from '@huggingface/tokenizers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { repository } from '../support/checkpoints.ts';
import { conversions, sotu } from '../support/conversions.ts';
import { goldenModels } from '../support/golden.ts';
import { tricky } from '../support/tricky-texts.ts';
import { engineDirectory } from './ggml.ts';
import { Llama } from './llama.ts';

/**
 * The tokenizer in our files, as the engine runs it, against the model's own tokenizer.json, as Hugging Face's library
 * runs it.
 *
 * Not here: SentencePiece models, which that library cannot read, and those that have a tokenizer.json with byte
 * fallback only (mistral, llama_256). The official converter gives the latter's tokens no merge ranks, so its files
 * split text otherwise than the model does; ours are the same bytes. test/engine/golden.test.ts has a prompt of each.
 */
const golden = new Map(goldenModels.map((model) => [model.name, model]));
const models = [
  { name: 'sotu-3m', directory: sotu },
  ...['llama3_tied', 'qwen2', 'qwen3'].map((name) => ({ name, directory: golden.get(name)!.checkpoint })),
];

/** Tests the ids of so much of fixtures/text/eval.txt, and of each tricky text. */
export function describeTokenIds(characters: number): void {
  const evalText = readFileSync(join(repository, 'fixtures/text/eval.txt'), 'utf8').slice(0, characters);
  for (const { name, directory } of models) {
    describe.skipIf(engineDirectory === null || !existsSync(directory))(`token ids of ${name}`, () => {
      const convert = conversions(directory);
      let engine: Llama;
      let reference: Tokenizer;
      beforeAll(async () => {
        const read = (file: string) => JSON.parse(readFileSync(join(directory, file), 'utf8'));
        reference = new Tokenizer(read('tokenizer.json'), read('tokenizer_config.json'));
        engine = Llama.load((await convert({ type: 'Q8_0' })).path, { context: 32 });
      });
      afterAll(() => engine.free());

      const expectEqualIds = (text: string) => {
        const got = engine.tokenize(text, { parseSpecial: true });
        const ids: readonly number[] = reference.encode(text, { add_special_tokens: false }).ids;
        const at = ids.findIndex((id, i) => id !== got[i]);
        const near = (tokens: ArrayLike<number>) => Array.from(tokens).slice(Math.max(0, at - 3), at + 5);
        if (at >= 0) expect.fail(`token ${at}: ... ${near(got)} ... instead of ... ${near(ids)} ...`);
        expect(got.length).toBe(ids.length);
      };

      it('fixtures/text/eval.txt', () => expectEqualIds(evalText));

      it.each(tricky.map((text) => [JSON.stringify(text).slice(0, 60), text]))('%s', (_label, text) => {
        expectEqualIds(text);
      });
    });
  }
}
