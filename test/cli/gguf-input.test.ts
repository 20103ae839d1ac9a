import { spawnSync } from 'node:child_process';
import { openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Report } from '../../src/report/report.ts';
import { repository } from '../support/checkpoints.ts';
import { temporaryDirectory } from '../support/temporary.ts';

/** The built command on GGUF files. */

const model = 'fixtures/sotu-3m';
const directory = temporaryDirectory();
const at = (name: string) => join(directory, name);
const environment = { ...process.env, NO_COLOR: '1', FORCE_COLOR: undefined };
const quantize = (...argv: string[]) =>
  spawnSync(process.execPath, ['bin/quantize.js', ...argv], {
    cwd: repository,
    encoding: 'utf8',
    env: environment,
  });

describe('a GGUF as input', () => {
  it('is quantized, edited and decoded', () => {
    expect(quantize(model, '--type', 'BF16', '-o', at('in.gguf'), '--quiet').status).toBe(0);
    const edits = ['--override-kv', 'general.name=str:Cut', '--override-kv', 'a.b=int:7'];
    const cut = quantize(
      at('in.gguf'),
      '--type',
      'Q8_0',
      ...edits,
      '--prune-layers',
      '1,2',
      '-o',
      at('cut.gguf'),
    );
    expect([cut.status, cut.stdout]).toEqual([0, '']);
    const { metadata, tensors } = JSON.parse(quantize('inspect', at('cut.gguf'), '--json').stdout);
    const setTo = (key: string) => metadata.find((entry: { key: string }) => entry.key === key)?.value;
    expect(['general.name', 'a.b', 'llama.block_count'].map(setTo)).toEqual(['Cut', 7, 2]);
    expect(tensors.some(({ name }: { name: string }) => name.startsWith('blk.2.'))).toBe(false);

    const refused = quantize(at('cut.gguf'), '--type', 'Q4_0', '-o', at('again.gguf'));
    expect([refused.status, refused.stderr]).toEqual([1, expect.stringContaining('--allow-requantize')]);
    const again = quantize(at('cut.gguf'), '--type', 'Q4_0', '--allow-requantize', '-o', at('again.gguf'));
    expect([again.status, again.stderr]).toEqual([0, expect.stringContaining('their errors add up')]);

    const decoded = quantize(
      'dequantize',
      at('cut.gguf'),
      '--to',
      'f16',
      '-o',
      at('cut.safetensors'),
      '--json',
    );
    expect(decoded.status).toBe(0);
    const report = JSON.parse(decoded.stdout) as Report;
    expect(report.model.fileBytes).toBe(readFileSync(at('cut.safetensors')).length);
    const compared = JSON.parse(quantize('compare', at('cut.gguf'), at('cut.safetensors'), '--json').stdout);
    expect(compared).toMatchObject({ onlyA: [], onlyB: [], notCompared: [] });
    expect(compared.total.metrics.relativeError).toBeCloseTo(report.model.metrics.relativeError!, 12);
  });

  it('is decoded to standard output as to a file', () => {
    expect(quantize(model, '--type', 'Q4_0', '-o', at('d.gguf'), '--quiet').status).toBe(0);
    expect(quantize('dequantize', at('d.gguf'), '-o', at('d32.gguf'), '--quiet').status).toBe(0);
    const out = openSync(at('d-stream.gguf'), 'w');
    const { status } = spawnSync(
      process.execPath,
      ['bin/quantize.js', 'dequantize', at('d.gguf'), '-o', '-'],
      {
        cwd: repository,
        env: environment,
        stdio: ['ignore', out, 'ignore'],
      },
    );
    expect(status).toBe(0);
    expect(readFileSync(at('d-stream.gguf')).equals(readFileSync(at('d32.gguf')))).toBe(true);
  });
});
