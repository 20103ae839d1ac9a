import { describe, expect, it } from 'vitest';
import { createProgress, lineProgress, spinnerProgress } from '../../src/cli/progress.ts';
import type { PipelineEvent } from '../../src/pipeline.ts';
import { fakeIo } from '../support/io.ts';
import { plan } from '../support/results.ts';

const at = (doneWeights: number, tensor = 'blk.0.ffn_up.weight'): PipelineEvent => ({
  kind: 'progress',
  doneWeights,
  totalWeights: 1000,
  tensor,
});
const planned = (fileBytes: number): PipelineEvent => ({
  kind: 'plan',
  plan: plan(),
  layout: {
    fileBytes,
    files: [{ fileBytes, header: new Uint8Array(0), first: 0, end: 1, offsets: [0] }],
    split: null,
  },
  output: 'out.gguf',
});
const quantizing: PipelineEvent = { kind: 'stage', stage: 'quantize' };

describe('away from a terminal', () => {
  it('says what is planned', () => {
    const fake = fakeIo();
    lineProgress(fake.io).handle(planned(3 << 20));
    expect(fake.lines()).toEqual(['Q4_K_M by kquant: 1 tensors, 3.00 MiB to write']);
  });

  it('is silent in a short run', () => {
    const fake = fakeIo();
    const progress = lineProgress(fake.io);
    progress.handle(quantizing);
    for (let done = 0; done <= 1000; done += 100) {
      fake.advance(0.4);
      progress.handle(at(done));
    }
    expect(fake.lines()).toEqual([]);
  });

  it('writes a line for every tenth of a long one', () => {
    const fake = fakeIo();
    const progress = lineProgress(fake.io);
    progress.handle(quantizing);
    for (let done = 10; done <= 1000; done += 10) {
      fake.advance(1);
      progress.handle(at(done));
    }
    expect(fake.lines()).toHaveLength(10);
    expect(fake.lines()[3]).toBe('quantize  40 %  10 weights/s  1 min 00 s left  blk.0.ffn_up.weight');
  });

  it('writes a line a minute when a tenth takes longer', () => {
    const fake = fakeIo();
    const progress = lineProgress(fake.io);
    progress.handle(quantizing);
    for (let second = 1; second <= 600; second++) {
      fake.advance(1);
      progress.handle(at(second / 10));
    }
    expect(fake.lines()).toHaveLength(10);
  });

  it('tells layer, share, time left and step of a calibration, whatever stages alternate under it', () => {
    const fake = fakeIo();
    const progress = lineProgress(fake.io);
    const calibrating = (layer: number, done: number, step = 'attn_q, attn_k'): PipelineEvent => {
      return { kind: 'calibration', layer, layers: 32, step, done, total: 330 };
    };
    progress.handle(calibrating(1, 0));
    for (let layer = 1; layer <= 33; layer++) {
      fake.advance(10);
      progress.handle({ kind: 'stage', stage: layer % 2 === 0 ? 'calibrate' : 'quantize' });
      progress.handle(calibrating(layer, 10 * layer, layer === 33 ? 'logits' : undefined));
    }
    expect(fake.lines()).toHaveLength(10);
    expect(fake.lines()[0]).toBe('layer 4/32  12 %  4 min 50 s left  attn_q, attn_k');
    expect(fake.lines().at(-1)).toBe('output  100 %  0.0 s left  logits');
  });

  it('makes names safe', () => {
    const fake = fakeIo();
    const progress = lineProgress(fake.io);
    progress.handle(quantizing);
    fake.advance(10);
    progress.handle(at(500, 'evil\u001b[2J\nname'));
    expect(fake.lines()).toHaveLength(1);
    expect(fake.stderr()).not.toContain('\u001b');
  });
});

describe('on a terminal', () => {
  const spinner = () => ({
    text: '',
    calls: '',
    start() {
      this.calls += '+';
    },
    stop() {
      this.calls += '-';
    },
  });

  it('shows stage, share, speed and time left in one line that fits', () => {
    const fake = fakeIo({ stderrIsTTY: true });
    const shown = spinner();
    const progress = spinnerProgress(fake.io, shown);
    expect(shown.calls).toBe('+');
    progress.handle({ kind: 'stage', stage: 'read' });
    expect(shown.text).toBe('read');
    progress.handle(quantizing);
    fake.advance(2);
    progress.handle(at(250, `model.layers.0.${'x'.repeat(90)}.weight`));
    expect(shown.text).toMatch(/^quantize {2}25 % {2}125 weights\/s {2}6\.0 s left {2}model\S*…\S*\.weight$/);
    expect(shown.text).toHaveLength(77);
    progress.stop();
    expect(shown.calls).toBe('+-');
  });

  it('shows a calibration until the next stage', () => {
    const fake = fakeIo({ stderrIsTTY: true });
    const shown = spinner();
    const progress = spinnerProgress(fake.io, shown);
    progress.handle({ kind: 'stage', stage: 'calibrate' });
    progress.handle({ kind: 'calibration', layer: 3, layers: 32, step: 'attn_q', done: 1, total: 4 });
    fake.advance(3);
    progress.handle({ kind: 'calibration', layer: 3, layers: 32, step: 'ffn_down', done: 2, total: 4 });
    expect(shown.text).toBe('layer 3/32  50 %  3.0 s left  ffn_down');
    progress.handle({ kind: 'stage', stage: 'write' });
    expect(shown.text).toBe('write');
    // The evaluation behind it has a time of its own.
    progress.handle({ kind: 'calibration', layer: 1, layers: 32, step: 'attention', done: 0, total: 4 });
    fake.advance(2);
    progress.handle({ kind: 'calibration', layer: 1, layers: 32, step: 'feed-forward', done: 1, total: 4 });
    expect(shown.text).toBe('layer 1/32  25 %  6.0 s left  feed-forward');
  });

  it('steps aside for a line', () => {
    const fake = fakeIo({ stderrIsTTY: true });
    const shown = spinner();
    const progress = spinnerProgress(fake.io, shown);
    progress.note('warning: x');
    expect([fake.lines(), shown.calls]).toEqual([['warning: x'], '+-+']);
  });
});

it('is silent when quiet', async () => {
  const fake = fakeIo();
  const progress = await createProgress(fake.io, true);
  progress.handle(planned(1));
  progress.note('warning');
  progress.stop();
  expect(fake.stderr()).toBe('');
});

it('takes plain lines where the cursor cannot move', async () => {
  for (const env of [{ TERM: 'dumb' }, { CI: 'true' }]) {
    const fake = fakeIo({ stderrIsTTY: true, env });
    const progress = await createProgress(fake.io, false);
    progress.handle(planned(1));
    expect(fake.stderr()).toBe('Q4_K_M by kquant: 1 tensors, 1 B to write\n');
  }
});
