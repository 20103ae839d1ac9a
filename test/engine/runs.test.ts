import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Tokenizer } from '@huggingface/tokenizers';
import { describe, expect, it } from 'vitest';
import type { RowOrder } from '../../src/core/plan.ts';
import { type Alterable, withKey, withSwapped, writeAltered } from '../support/altered.ts';
import { conversions, sotu } from '../support/conversions.ts';
import { sha256 } from '../support/golden.ts';
import { evalText } from '../support/short-text.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { engineDirectory } from './ggml.ts';
import { Llama } from './llama.ts';
import { describePerplexities, F32_PERPLEXITY } from './runs.ts';

/** Stock llama.cpp runs what we write, and would show it if names, orders or tokens were wrong. */

/** Greedy text of the unquantized model; the best logit leads by at least 0.14 all along. */
const prompt = 'The white whale';
const continuation = ', and the\nsharpooneer, the sperm whale, and the sperm whale';
const CONTINUATION_TOKENS = 24;

const read = (file: string) => JSON.parse(readFileSync(join(sotu, file), 'utf8'));
const tokenizer = new Tokenizer(read('tokenizer.json'), read('tokenizer_config.json'));
const WINDOWS = 4;
const sample = evalText(2560);
const sampleTokens = tokenizer.encode(sample).ids;

type Fault = 'tokens' | 'text' | 'perplexity';

/** In what a model is not the one it was made of; the perplexity may be off by 0.5 %. */
function faultsOf(path: string): Fault[] {
  const llama = Llama.load(path);
  const faults: Fault[] = [];
  const tokens = llama.tokenize(sample);
  if (tokens.join() !== sampleTokens.join()) faults.push('tokens');
  const { ids } = llama.greedy(llama.tokenize(prompt), CONTINUATION_TOKENS);
  if (llama.detokenize(ids) !== continuation) faults.push('text');
  const ratio = llama.perplexity(tokens, { windows: WINDOWS }) / F32_PERPLEXITY[WINDOWS];
  if (Math.abs(ratio - 1) > 0.005) faults.push('perplexity');
  llama.free();
  return faults;
}

describe.skipIf(engineDirectory === null)('stock llama.cpp', () => {
  const convert = conversions(sotu);
  const directory = temporaryDirectory();

  it('predicts with a wide lead what is compared', async () => {
    const llama = Llama.load((await convert({ type: 'F32' })).path);
    const { minGap } = llama.greedy(llama.tokenize(prompt), CONTINUATION_TOKENS);
    expect(minGap).toBeGreaterThan(0.1);
    llama.free();
  });

  it.each(['F32', 'F16', 'BF16', 'Q8_0'])(
    'generates the text of the unquantized model from %s',
    async (type) => {
      expect(faultsOf((await convert({ type })).path)).toEqual([]);
    },
  );

  describe('a wrong conversion shows', () => {
    const altered = (alter: (plan: Alterable) => Alterable): string => {
      const path = join(directory, 'altered.gguf');
      writeAltered(path, sotu, alter);
      return path;
    };
    const reordered = (order: (name: string, rows: RowOrder) => RowOrder) => (plan: Alterable) => ({
      ...plan,
      tensors: plan.tensors.map((tensor) =>
        tensor.source.kind === 'stored'
          ? { ...tensor, source: { ...tensor.source, rows: order(tensor.name, tensor.source.rows) } }
          : tensor,
      ),
    });
    const tokenId = (text: string): number => {
      const { ids } = tokenizer.encode(text);
      if (ids.length !== 1) throw new Error(`${JSON.stringify(text)} is not one token`);
      return ids[0];
    };

    it('and nothing else does: unaltered, the file is ours byte for byte', async () => {
      const { path } = await convert({ type: 'F32' });
      const copy = altered((plan) => plan);
      expect(sha256(readFileSync(copy))).toBe(sha256(readFileSync(path)));
    });

    it.each<[string, (plan: Alterable) => Alterable, Fault[]]>([
      ['q and k in the order of the checkpoint', reordered(() => ({ kind: 'file' })), ['text', 'perplexity']],
      [
        'k permuted by the number of query heads',
        reordered((name, rows) => (name.includes('attn_k') ? { kind: 'rotary', heads: 4 } : rows)),
        ['text', 'perplexity'],
      ],
      [
        'v permuted',
        reordered((name, rows) => (name.includes('attn_v') ? { kind: 'rotary', heads: 2 } : rows)),
        ['text', 'perplexity'],
      ],
      [
        'another base of rotary frequencies',
        (plan) => withKey(plan, 'llama.rope.freq_base', () => 500_000),
        ['perplexity'],
      ],
      [
        'two tokens exchanged',
        (plan) => withSwapped(plan, 'tokenizer.ggml.tokens', tokenId(' the'), tokenId(' of')),
        ['tokens', 'text', 'perplexity'],
      ],
      [
        'two merges exchanged',
        (plan) => withSwapped(plan, 'tokenizer.ggml.merges', 3, 1500),
        ['tokens', 'perplexity'],
      ],
      ['another pre-tokenizer', (plan) => withKey(plan, 'tokenizer.ggml.pre', () => 'llama-bpe'), ['tokens']],
    ])('%s', (_name, alter, faults) => {
      expect(faultsOf(altered(alter))).toEqual(faults);
    });
  });
});

// Codings that test/engine/whole-files.test.ts does not hold to llama-quantize's own files, and one of the others of each
// size of block; the long tests run all of them.
describePerplexities({
  windows: 10,
  names: [
    ...['Q4_0', 'Q4_K_M', 'IQ3_M', 'TQ2_0', 'MXFP4'],
    '--method absmax --bits 8 --granularity tensor --range entropy',
    '--method zero-point --bits 2',
    '--method binary --center true',
  ],
});
