import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { inspectCommand } from '../../src/cli/inspect.ts';
import { fakeIo } from '../support/io.ts';
import { checkpoint, stored } from '../support/results.ts';

const somePath = fileURLToPath(import.meta.url); // any path that exists
const gguf = checkpoint({
  format: 'gguf',
  files: [{ path: somePath, size: 2048 }],
  tensors: new Map(
    [
      stored({ name: 'token_embd.weight', type: 'Q8_0', shape: [4, 256], offset: 320 }),
      stored({ name: 'output_norm.weight', type: 'F32', shape: [256], offset: 1408 }),
    ].map((tensor) => [tensor.name, tensor]),
  ),
  metadata: [
    { key: 'general.architecture', type: 'STRING', value: 'llama' },
    { key: 'general.description', type: 'STRING', value: `line\nline ${'long '.repeat(40)}` },
    { key: 'llama.block_count', type: 'UINT32', value: 4 },
    { key: 'big', type: 'UINT64', value: 2n ** 60n },
    { key: 'scores', type: 'ARRAY', elementType: 'FLOAT32', value: new Float32Array(2048) },
    { key: 'pair', type: 'ARRAY', elementType: 'INT32', value: [1, 2] },
  ],
});

it('prints metadata and tensors of a GGUF as tables', async () => {
  const fake = fakeIo();
  await inspectCommand(somePath, {}, fake.io, () => gguf);
  const text = fake.stdout().replaceAll(somePath, 'FILE');
  expect(text).toMatchInlineSnapshot(`
    "key                   type       value
    ────────────────────────────────────────────────────────────────────────────────────────────────────
    general.architecture  STRING     "llama"
    general.description   STRING     "line\\nline long long long long long long long long long long long…
    llama.block_count     UINT32     4
    big                   UINT64     1152921504606846976
    scores                FLOAT32[]  [0, 0, 0, 0, 0, 0, 0, 0, … 2048 in all]
    pair                  INT32[]    [1, 2]

    tensor              type  shape      bits      size
    ───────────────────────────────────────────────────
    token_embd.weight   Q8_0  [256, 4]   8.50  1.06 KiB
    output_norm.weight  F32   [256]     32.00  1.00 KiB

    FILE: gguf, 1.28 k weights in 2 tensors (Q8_0 1, F32 1)
    2.06 KiB of tensors, 13.20 bits per weight, 2.00 KiB on disk
    "
  `);
  for (const line of text.split('\n')) expect(line.length).toBeLessThanOrEqual(100);
  expect(fake.stderr()).toBe('');
});

it('prints JSON', async () => {
  const fake = fakeIo();
  await inspectCommand(somePath, { json: true }, fake.io, () => gguf);
  const json = JSON.parse(fake.stdout());
  expect(json).toMatchObject({
    schema: 'gguf-quantize/inspect',
    format: 'gguf',
    tensors: [
      {
        name: 'token_embd.weight',
        type: 'Q8_0',
        shape: [256, 4],
        bitsPerWeight: 8.5,
        bytes: 1088,
        offset: 320,
      },
      { name: 'output_norm.weight', shape: [256] },
    ],
    total: { weights: 1280, bytes: 2112, fileBytes: 2048, types: { Q8_0: 1, F32: 1 } },
  });
  expect(json.metadata[3].value).toBe('1152921504606846976');
  expect(json.metadata[4]).toEqual({
    key: 'scores',
    type: 'ARRAY',
    elementType: 'FLOAT32',
    length: 2048,
    first: [0, 0, 0, 0, 0, 0, 0, 0],
  });
});

it('lists the shards and keeps the order of axes of safetensors', async () => {
  const fake = fakeIo();
  const sharded = checkpoint({
    files: [
      { path: 'm/1.safetensors', size: 1 << 20 },
      { path: 'm/2.safetensors', size: 2 << 20 },
    ],
    tensors: new Map([['w', stored({ shape: [2, 256, 3] })]]),
  });
  await inspectCommand(somePath, {}, fake.io, () => sharded);
  expect(fake.stdout()).toMatch(/m\/2\.safetensors +2\.00 MiB/);
  expect(fake.stdout()).toContain('[2, 256, 3]');
});
