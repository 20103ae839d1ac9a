import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  buildReport,
  ggmlTypes,
  openCheckpoint,
  planQuantization,
  QuantizeError,
  quantizeCheckpoint,
  UsageError,
} from '../../src/index.ts';
import { temporaryDirectory } from '../support/temporary.ts';

const model = 'fixtures/sotu-3m';
const directory = temporaryDirectory();

describe('the library', () => {
  it('does the main job and builds the report', async () => {
    const output = join(directory, 'm.gguf');
    const seen: string[] = [];
    const result = await quantizeCheckpoint(
      { input: model, output, type: 'Q4_K_M', threads: 2 },
      ({ kind }) => seen.push(kind),
    );
    expect(readFileSync(output).length).toBe(result.fileBytes);
    expect(result.fileBytes).toBe(planQuantization({ input: model, type: 'Q4_K_M' }).layout.fileBytes);
    expect(new Set(seen)).toEqual(new Set(['stage', 'plan', 'progress']));
    expect(buildReport(result).tensors.length).toBe(openCheckpoint(model).tensors.size);
  });

  it('throws what users can cause as QuantizeError, wrong options as UsageError', async () => {
    await expect(quantizeCheckpoint({ input: join(directory, 'none') })).rejects.toThrow(QuantizeError);
    await expect(quantizeCheckpoint({ input: model, type: 'Q9' })).rejects.toThrow(UsageError);
  });

  it('stops when the signal aborts and leaves nothing at the output', async () => {
    const output = join(directory, 'aborted.gguf');
    const signal = AbortSignal.abort('enough');
    await expect(quantizeCheckpoint({ input: model, output, type: 'Q8_0', signal })).rejects.toThrow(
      'interrupted',
    );
    expect(existsSync(output)).toBe(false);
  });

  it('knows the types of GGUF and no others', () => {
    expect(ggmlTypes.Q4_K).toMatchObject({ ggmlId: 12, blockSize: 256, typeSize: 144 });
    expect(ggmlTypes.F8_E4M3).toBeUndefined();
  });
});
