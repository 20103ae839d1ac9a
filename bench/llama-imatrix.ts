// What llama-imatrix does, as a process (Node 24, which runs TypeScript): llama.cpp over tokens of a text.
// Usage: node bench/llama-imatrix.ts cut TEXT TOKENS CONTEXT MODEL.gguf OUTPUT.txt
//        node bench/llama-imatrix.ts forward|collect TEXT THREADS CONTEXT MODEL.gguf [OUTPUT.gguf]
// `cut` makes a text of so many tokens and less than a window more. The others print JSON: seconds of the forward pass
// (loading and tokenizing not counted), tokens, and the library that computed.
import { readFileSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { collectedEntries, collectImportance, imatrixBatches } from '../test/engine/imatrix.ts';
import { Llama } from '../test/engine/llama.ts';
import { imatrixBytes } from '../test/support/imatrix-writer.ts';

const [task, textPath, number, contextText, model, output] = process.argv.slice(2);
const context = Number(contextText);
const text = readFileSync(textPath, 'utf8');

if (task === 'cut') cut(Number(number));
else {
  const result = task === 'collect' ? collect(Number(number)) : forward(Number(number));
  const maps = readFileSync('/proc/self/maps', 'utf8');
  const backend = /\S*libggml-cpu-\S+/.exec(maps)?.[0] ?? 'unknown';
  console.log(JSON.stringify({ ...result, tokens: result.windows * context, backend: basename(backend) }));
}

function tokensOf(part: string): Int32Array {
  const llama = Llama.load(model);
  const tokens = llama.tokenize(part, { addSpecial: true });
  llama.free();
  return tokens;
}

function cut(wanted: number): void {
  let part = text;
  for (let tokens = tokensOf(part).length; tokens >= wanted + context; tokens = tokensOf(part).length) {
    part = part.slice(0, Math.ceil((part.length * (wanted + context / 2)) / tokens));
  }
  const tokens = tokensOf(part).length;
  if (tokens < wanted) throw new Error(`${textPath} has ${tokens} tokens here, not ${wanted}`);
  writeFileSync(output, part);
}

function collect(threads: number) {
  const collected = collectImportance(model, tokensOf(text), { context, threads });
  if (output) writeFileSync(output, imatrixBytes(collectedEntries(collected), [], collected.windows));
  return { seconds: collected.seconds, windows: collected.windows };
}

function forward(threads: number) {
  const tokens = tokensOf(text);
  const llama = Llama.load(model, { ...imatrixBatches(context), threads });
  const started = performance.now();
  const windows = llama.forward(tokens);
  const seconds = (performance.now() - started) / 1000;
  llama.free();
  return { seconds, windows };
}
