import { describe, expect, it } from 'vitest';
import {
  formatBytes,
  formatCount,
  formatError,
  formatSeconds,
  printable,
  shorten,
  shortenName,
} from '../../src/report/format.ts';
import { buildReport } from '../../src/report/report.ts';
import { renderSummary } from '../../src/report/summary.ts';
import { renderPlan, renderTable, renderTensors } from '../../src/report/table.ts';
import { planned, result, sums } from '../support/results.ts';

const report = buildReport(
  result([
    [planned({ name: 'output_norm.weight', shape: [256], type: 'F32', encoder: 'F32' }), sums(256, 0)],
    [
      planned({ name: 'blk.0.attn_v.weight', type: 'Q5_0', encoder: 'Q5_0', fallbackFrom: 'Q4_K' }),
      sums(1024, 0.1),
    ],
    [
      planned({ name: 'blk.1.attn_v.weight', type: 'Q5_0', encoder: 'Q5_0', fallbackFrom: 'Q4_K' }),
      sums(1024, 0.2, 300),
    ],
    [planned({ name: 'blk.0.ffn_down.weight' }), { ...sums(1024, 0.05), sumX2: 0, sumXQ: 0 }],
  ]),
);
const names = (table: string) =>
  table
    .split('\n')
    .slice(2)
    .map((line) => line.split(' ')[0]);

describe('renderTensors', () => {
  it('puts the worst first, however large its error', () => {
    expect(names(renderTensors(report.tensors, 10))).toEqual([
      'blk.0.ffn_down.weight',
      'blk.1.attn_v.weight',
      'blk.0.attn_v.weight',
      'output_norm.weight',
    ]);
    expect(names(renderTensors(report.tensors, 2))).toHaveLength(2);
  });

  it('prints every figure', () => {
    expect(renderTensors(report.tensors, 10)).toMatchInlineSnapshot(`
      "tensor                 type   bits      size  rel. error  SQNR dB     RMSE  max |e|   cosine
      ────────────────────────────────────────────────────────────────────────────────────────────
      blk.0.ffn_down.weight  Q4_K   4.50     576 B         inf     -inf  5.00e-2  5.00e-2  0.00000
      blk.1.attn_v.weight    Q5_0   5.50     704 B     4.00e-2     14.0  2.00e-1  2.00e-1  1.00000
      blk.0.attn_v.weight    Q5_0   5.50     704 B     1.00e-2     20.0  1.00e-1  1.00e-1  1.00000
      output_norm.weight     F32   32.00  1.00 KiB           0    exact        0        0  1.00000"
    `);
  });

  const veryLong = `model.layers.10.block_sparse_moe.experts.3.${'very_'.repeat(20)}w2.weight`;
  const tablesIn = (width: number, name: string) => {
    const long = buildReport(result([[planned({ name }), sums(1024, 0.1)]]));
    const style = { color: false, width };
    return [
      renderTensors(long.tensors, 10, style),
      renderPlan(
        [{ name, type: 'Q4_K', shape: [4096, 14336, 128], bytes: 1, reason: 'because '.repeat(30) }],
        style,
      ),
    ];
  };

  it('fits, cutting the words of long names and never their numbers', () => {
    for (const table of tablesIn(100, veryLong)) {
      for (const line of table.split('\n')) expect(line.length).toBeLessThanOrEqual(100);
      expect(table).toMatch(/^\S+\.10\.\S+\.3\.\S*…\S*/m);
    }
  });

  it('cuts nothing where no terminal reads', () => {
    for (const table of tablesIn(Number.POSITIVE_INFINITY, veryLong)) expect(table).toContain(`${veryLong} `);
  });

  it.each([
    [100, 'tensor type bits size rel. error SQNR dB RMSE max |e| cosine'],
    [90, 'tensor type bits size rel. error SQNR dB max |e| cosine'],
    [80, 'tensor type bits size rel. error SQNR dB max |e|'],
    [70, 'tensor type bits rel. error SQNR dB max |e|'],
    [60, 'tensor type bits rel. error SQNR dB'],
  ])('in %i columns leaves out figures before it cuts a name', (width, head) => {
    const [table] = tablesIn(width, 'blk.11.attn_output.weight');
    expect(table.split('\n')[0].replace(/ +/g, ' ')).toBe(head);
    expect(table).toContain('blk.11.attn_output.weight ');
    for (const line of table.split('\n')) expect(line.length).toBeLessThanOrEqual(width);
  });

  it('is coloured only on demand', () => {
    expect(renderTensors(report.tensors, 10)).not.toContain('\u001b');
    const colored = renderTensors(report.tensors, 10, { color: true, width: 100 });
    expect(colored).toContain('\u001b[1m');
    // biome-ignore lint/suspicious/noControlCharactersInRegex: ANSI styles
    expect(colored.replace(/\u001b\[\d+m/g, '')).toBe(renderTensors(report.tensors, 10));
  });

  it('keeps control characters of names from the terminal', () => {
    expect(renderTable([{ head: 'a' }], [['x\u001b[2J\ny']])).toContain('x\ufffd[2J\ufffdy');
  });
});

it('sums up the model, each kind of fallback once', () => {
  expect(renderSummary(report)).toMatchInlineSnapshot(`
    "Q4_K_M by kquant: 3.33 k weights in 4 tensors, 3 quantized
    size   6.50 KiB -> 2.94 KiB, 2.21 times smaller, 7.23 bits per weight
    error  relative 2.33e-2, SQNR 16.3 dB, RMSE 1.27e-1, cosine 0.84973
           at most 2.00e-1 (blk.1.attn_v.weight, row 1, column 44)
    fallback Q4_K -> Q5_0 in 2 tensors: +1.00 bits per weight, +256 B
           rows do not divide into blocks of Q4_K, as in blk.0.attn_v.weight"
  `);
});

describe('formats', () => {
  it.each([
    [formatBytes, 0, '0 B'],
    [formatBytes, 1023, '1023 B'],
    [formatBytes, 1024, '1.00 KiB'],
    [formatBytes, 15 << 20, '15.0 MiB'],
    [formatBytes, 200 * 2 ** 30, '200 GiB'],
    [formatBytes, -2048, '-2.00 KiB'],
    [formatCount, 999, '999'],
    [formatCount, 3_720_000, '3.72 M'],
    [formatCount, 8.03e9, '8.03 B'],
    [formatError, 0, '0'],
    [formatError, 0.00431, '4.31e-3'],
    [formatError, null, 'inf'],
    [formatSeconds, 0.84, '0.8 s'],
    [formatSeconds, 9.97, '10 s'],
    [formatSeconds, 185, '3 min 05 s'],
    [formatSeconds, 7440, '2 h 04 min'],
  ])('%o of %s', (format, value, text) => {
    expect((format as (value: number | null) => string)(value)).toBe(text);
  });

  it('cuts in the middle to the width', () => {
    expect(shorten('abcdefghij', 10)).toBe('abcdefghij');
    expect(shorten('abcdefghijk', 7)).toBe('ab…hijk');
  });

  it.each([
    ['blk.11.attn_output.weight', 25, 'blk.11.attn_output.weight'],
    ['blk.11.attn_output.weight', 18, 'blk.11.a…put.w…ght'],
    ['blk.11.attn_output.weight', 3, '….11.….…'],
  ])('cuts the words of %s to %i characters', (name, width, text) => {
    expect(shortenName(name, width)).toBe(text);
  });

  it('leaves letters of any script', () => {
    expect(printable('größe 重み')).toBe('größe 重み');
  });
});
