import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Tokenizer } from '@huggingface/tokenizers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { repository } from '../support/checkpoints.ts';
import { conversions, sotu } from '../support/conversions.ts';
import { goldenModels } from '../support/golden.ts';
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

const evalText = readFileSync(join(repository, 'fixtures/text/eval.txt'), 'utf8');

/** Normalised (NFC): Qwen's tokenizer does that to its input, llama.cpp does not. */
const tricky = [
  '',
  ' ',
  '\n',
  '  two  spaces   three    ',
  ' leading and trailing ',
  '\t\ttabs\n\n\nlines\r\n\r\nCR LF \r\n\r lone CR',
  '  \n  \n\t',
  'emoji 😀👩‍👩‍👧‍👦🇩🇪 ✈️ 😀😀😀😀',
  '中文字符，测试。日本語テスト 한국어',
  'مرحبا שלום नमस्ते ไทย',
  'control \u0000\u0001\u0007\u001b\u007f\u0085 end',
  '1 12 123 1234 1234567 12,345.67 1e-10 0x1F ½ ²³ Ⅻ ٣٤٥ १२३',
  "I'm you're we've they'll he'd it's DON'T I'M WE'VE can't ’tis 'S",
  'naïve café ﬁ ß ẞ Åström',
  '\u00a0nbsp\u2003em\u3000ideographic\u200b\ufeff\u2028\u2029',
  'a_b-c/d\\e@f#g$h%i^j&k*l(m)n ... !!! ??? --- ===',
  "don't\n 5 apples\n\n  indented\n\tcode();\n}\n",
  '▁▁under ▁ Ġ Ċ',
  '𝒳𝓎 𠜎 \u{10fffd}',
  'x'.repeat(300),
  // Not </s>, which llama.cpp takes for special wherever the vocabulary has such a text.
  '<|endoftext|>a<|endoftext|> b <|im_start|>user\n<|begin_of_text|><s> <unk> [INST]',
];

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

    it('the whole of fixtures/text/eval.txt', () => expectEqualIds(evalText));

    it.each(tricky.map((text) => [JSON.stringify(text).slice(0, 60), text]))('%s', (_label, text) => {
      expectEqualIds(text);
    });
  });
}
