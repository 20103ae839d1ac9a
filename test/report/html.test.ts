import { describe, expect, it } from 'vitest';
import type { LayerError } from '../../src/core/evaluation.ts';
import type { RunResult } from '../../src/core/result.ts';
import { renderEvaluationPage } from '../../src/report/html/evaluation-page.ts';
import { layerGrid } from '../../src/report/html/heat-map.ts';
import { html } from '../../src/report/html/markup.ts';
import { renderRunPage } from '../../src/report/html/run-page.ts';
import { scaleStyles } from '../../src/report/html/scale.ts';
import { shellQuote } from '../../src/report/html/shell.ts';
import { buildReport } from '../../src/report/report.ts';
import { parseHtml } from '../support/html.ts';
import { activationsFrom, bell, evaluatedModel, rangedReport, wholeReport } from '../support/reports.ts';
import { evaluation, planned, rangedSums, result, sums } from '../support/results.ts';

const whole = renderRunPage(wholeReport(2));
const ranged = renderRunPage(rangedReport(1));

/** Text of the page's elements of a name, tags taken out. */
const contents = (page: string, name: string): string[] =>
  [...page.matchAll(new RegExp(`<${name}[ >].*?</${name}>`, 'gs'))].map(([found]) =>
    found
      .replace(/<[^>]*>/g, ' ')
      .replace(/\s+/g, ' ')
      .trim(),
  );

const facts = { command: ['eval', 'm.gguf', "it's.txt"], host: wholeReport(1).run.host };
const exact: LayerError = {
  ...{ tensor: 'output.weight', layer: null, expert: null, type: 'F16', rows: 4, columns: 8, inputs: 9 },
  ...{ weightsOnly: 0, activations: [{ scheme: 'dynamic:8', error: 0 }] },
};
const none = { base: null, activations: [], layers: [] };

const pages: readonly (readonly [string, string])[] = [
  ['with everything', whole],
  ['of chosen ranges', ranged],
  [
    'of weights without layers',
    renderRunPage(buildReport(result([[planned({ name: 'w' }), sums(1024, 0.1)]]))),
  ],
  [
    'of nothing quantized',
    renderRunPage(buildReport(result([[planned({ type: 'F32', encoder: 'F32' }), sums(1024, 0)]]))),
  ],
  ['of no tensors', renderRunPage(buildReport(result([])))],
  ['of an evaluation', renderEvaluationPage([evaluatedModel('m.gguf', 4, ['dynamic:8'])], facts)],
  ['of one without a base', renderEvaluationPage([evaluatedModel('m.gguf', 1, [], none)], facts)],
  [
    'of several, of one layer, of exact weights and of no inputs',
    renderEvaluationPage(
      [
        evaluatedModel('m<1>.gguf', 40, ['dynamic:8', 'static:8:asymmetric:mse', 'static:4:mse']),
        evaluatedModel('a/m.gguf', 1, [], { notApplied: [{ scheme: 'bitlinear', reason: 'so <it> is' }] }),
        evaluatedModel('b/m.gguf', 0, ['dynamic:8'], { layers: [exact, { ...exact, weightsOnly: null }] }),
        evaluatedModel('c.gguf', 0, [], { layers: [{ ...exact, weightsOnly: null, activations: [] }] }),
      ],
      facts,
    ),
  ],
  [
    'of errors beyond measure',
    renderRunPage(buildReport(result([[planned(), { ...sums(1024, 0.5), sumX2: 0 }]]))),
  ],
];

describe.each(pages)('a page %s', (_name, page) => {
  it('is well-formed, its links lead somewhere and its ids are unique', () => {
    const { elements } = parseHtml(page);
    const ids = elements.flatMap(({ attributes }) => attributes.get('id') ?? []);
    expect(new Set(ids).size).toBe(ids.length);
    for (const { attributes } of elements) {
      const href = attributes.get('href');
      if (href?.startsWith('#')) expect(ids).toContain(href.slice(1));
    }
  });

  it('has no script and fetches nothing', () => {
    const { elements } = parseHtml(page);
    for (const { name, attributes } of elements) {
      expect(['script', 'iframe', 'object', 'embed', 'img', 'form']).not.toContain(name);
      for (const [attribute, value] of attributes) {
        expect(attribute).not.toMatch(/^on|^src/);
        if (attribute === 'href') expect(value).toMatch(/^#|^data:,$/);
        if (attribute === 'style') expect(value).toMatch(/^(width|left|bottom):[\d.]+%(;bottom:[\d.]+%)?$/);
      }
    }
    expect(page).not.toMatch(/@import|url\(|https?:/);
  });

  it('labels what only eyes can read', () => {
    const { elements } = parseHtml(page);
    for (const { name, attributes } of elements) {
      if (name === 'svg')
        expect(attributes.has('aria-label') || attributes.get('aria-hidden') === 'true').toBe(true);
      if (name === 'th') expect(attributes.get('scope')).toMatch(/^(col|row)$/);
      if (attributes.get('role') === 'region') expect(attributes.get('aria-label')).toBeTruthy();
    }
    expect(elements.find(({ name }) => name === 'html')!.attributes.get('lang')).toBe('en');
  });

  it('holds no figure that is no number', () => {
    expect(page).not.toMatch(/\b(NaN|undefined|Infinity)\b/);
  });
});

describe('the page of a run', () => {
  it('escapes whatever names hold', () => {
    const name = `blk.0."><script>alert('1')</script>&amp;\u0007.weight`;
    const made = result([[planned({ name }), sums(1024, 0.1)]]);
    const tensors = made.tensors.map((tensor) => ({ ...tensor, histogram: bell(1024) }));
    const page = renderRunPage(
      buildReport({ ...made, tensors, run: { ...made.run, input: '/x/<b>' } }, ['<i>']),
    );
    const { text, elements } = parseHtml(page);
    expect(text).toContain(name.replace('\u0007', '\ufffd'));
    expect(text).toContain('<b> as Q4_K_M');
    expect(text).toContain("quantize '<i>'");
    expect(elements.map((element) => element.name)).not.toContain('script');
  });

  it('stays under 2 MB for 32 layers of nine tensors', () => {
    const page = renderRunPage(wholeReport(32));
    expect(page.match(/<figure/g)).toHaveLength(32 * 9 + 1);
    expect(Buffer.byteLength(page)).toBeLessThan(2e6);
    expect(() => parseHtml(page)).not.toThrow();
  });

  it('begins with what was done', () => {
    const { text } = parseHtml(whole);
    expect(text).toContain('model as Q4_K_M');
    expect(text).toContain('gptq, calibrated on 131 k tokens, coded 19 of 21 tensors');
    expect(contents(whole, 'dd')).toEqual(expect.arrayContaining(['12.346 ± 0.210', '1.40e-2 nat']));
  });

  it('names rule and granularity in that sentence', () => {
    expect(parseHtml(ranged).text).toContain(
      'absmax with ranges percentile=99.9, full, one a channel, coded 10 of 10 tensors',
    );
  });

  it('maps error and bits of every quantized tensor, as text in coloured cells that lead to histograms', () => {
    const cells = [
      ...whole.matchAll(/<td class="(noise|bits)(\d)" title="([^"]*)"><a href="#t(\d+)">([\d.]+)</g),
    ];
    expect(cells).toHaveLength(2 * 19);
    const [noise] = cells.filter(
      ([, scale, , title]) => scale === 'noise' && title.startsWith('blk.0.attn_k'),
    );
    expect(noise.slice(1)).toEqual([
      'noise',
      expect.any(String),
      'blk.0.attn_k.weight: 33.2 dB',
      '2',
      '33.2',
    ]);
    const [bits] = cells.filter(([, scale, , title]) => scale === 'bits' && title.startsWith('blk.1.attn_v'));
    expect(bits.slice(2)).toEqual(['6', 'blk.1.attn_v.weight: Q6_K, 6.56 bits per weight', '13', '6.56']);
    expect(contents(whole, 'ul')[1]).toBe('Q4_K 4.50 Q5_0 5.50 Q6_K 6.56');
  });

  it('gives noisier tensors a deeper colour', () => {
    const cells = [...whole.matchAll(/<td class="noise(\d)" title="[^"]*"><a href="#t\d+">([\d.]+)</g)];
    const sorted = cells.map(([, level, db]) => [Number(level), Number(db)]).sort(([, a], [, b]) => a - b);
    const levels = sorted.map(([level]) => level);
    expect(levels).toEqual([...levels].sort((a, b) => b - a));
    expect([levels[0], levels.at(-1)]).toEqual([6, 0]);
  });

  it('draws before, after, clipping and code points, and says them in words', () => {
    const tensor = planned();
    const made = result([[tensor, sums(1024, 0.1)]]);
    const histogram = {
      binWidth: 0.5,
      first: -2,
      counted: 512,
      before: { min: -1.2, max: 0.9, below: 3, above: 0, counts: [0, 100, 100, 10] },
      after: { min: -0.75, max: 0.5, below: 0, above: 0, counts: [0, 0, 100, 0] },
      group: { start: 96, weights: 32, values: [-0.75, 0, 0.5, 4] },
    };
    const page = renderRunPage(
      buildReport({ ...made, tensors: made.tensors.map((each) => ({ ...each, histogram })) }),
    );
    const paths = new Map(
      [...page.matchAll(/<path class="(\w)" d="([^"]*)"\/>/g)].map(([, name, path]) => [name, path]),
    );
    const ten = Math.round((100 * Math.log(11)) / Math.log(101));
    expect(paths.get('b')).toBe(`M0 100h1v-100h2v${100 - ten}h1V100z`);
    expect(paths.get('a')).toBe('M0 100h2v-100h1v100h1');
    expect(paths.get('t')).toBe('M0.5 0v100M3 0v100');
    expect(paths.get('g')).toBe('M0.5 100v7M2 100v7M3 100v7'); // 4 is beyond the picture
    expect(contents(page, 'figcaption')).toEqual([
      '1.02 k weights, counted in 512 of them, in bins of 0.5; height is the logarithm of the count, up to 100. ' +
        'Before: -1.2 to 0.9, 3 left of the picture. After: -0.75 to 0.5; nothing decodes beyond. ' +
        'Code points: 4 values taken by the 32 weights from 96 on, which share one scale.',
    ]);
  });

  it.each([
    ['TQ2_0', null, 'M0 100v7M2 100v7M4 100v7', 'all 3 of'],
    ['Q1_0', null, 'M0 100v7M4 100v7', 'all 2 of'],
    ['Q5_1', null, '', 'all 32 of'],
    ['Q4_0', 'restricted', '', 'all 15 of'],
    ['Q8_0', 'restricted', 'M2 100v7', '1 values taken by the 32 weights from 96 on, of 255 of'],
  ] as const)(
    'draws the grid that a whole tensor shares where it is coarse: %s',
    (type, symmetry, drawn, said) => {
      const range = { rule: { kind: 'mse' }, granularity: 'tensor', symmetry, center: false } as const;
      const one = { lowLeast: -1, lowMost: -1, highLeast: 1, highMost: 1 };
      const made = result([[planned({ type, encoder: `${type}:range`, range }), rangedSums(1024, one)]]);
      const side = { min: -1, max: 1, below: 0, above: 0, counts: [1, 1, 1, 1] };
      const histogram = {
        ...{ binWidth: 0.5, first: -2, counted: 1024, before: side, after: side },
        group: { start: 96, weights: 32, values: [0] },
      };
      const page = renderRunPage(
        buildReport({ ...made, tensors: made.tensors.map((each) => ({ ...each, histogram })) }),
      );
      const [, marks] = /<path class="g" d="(M[^"]* 100v7)"/.exec(page)!;
      if (drawn !== '') expect(marks).toBe(drawn);
      else expect(marks.split('M')).toHaveLength(1 + Number(said.split(' ')[1]));
      expect(contents(page, 'figcaption')[0]).toContain(
        `Code points: ${said} the range that the whole tensor shares.`,
      );
    },
  );

  it('lists the worst tensors, fallbacks, output errors, activations and memory', () => {
    const [worst] = /<h2>The worst tensors.*?<\/table>/s.exec(whole)!;
    const rows = contents(worst, 'tr').slice(1);
    expect(rows).toHaveLength(10);
    expect(rows[0]).toMatch(/^blk\.1\.\S+ Q\S+ [\d.]+ [\d.]+ MiB 1\.30e-3 28\.9/);
    expect(contents(whole, 'tr')).toEqual(
      expect.arrayContaining([
        'blk.0.ffn_up.weight Q4_K Q5_0 +1.00 +2.00 MiB',
        'blk.0.attn_q.weight 4.00e-2 2.00e-2 1.00e-2 gptq 131 k 0 0.01 4.00e+5',
        'blk.0.attn_q.weight 12.50 7.250 6.125 5.063',
        'FP32 32.00 1.61 GiB 100.0 %',
        'INT8 8.00 413 MiB 25.0 %',
      ]),
    );
  });

  it('says over which text ranges of activations were found, and which percentile', () => {
    const [section] = /<h2>Activation ranges<.*?<\/section>/s.exec(whole)!;
    expect(contents(section, 'dl')).toEqual([
      'Text notes/ Tokens 2.05 k in 8 windows of 256 Percentile holds 99.99 % of the values',
    ]);
    expect(contents(whole, 'dd')).toContain('SHA-256 ab12');
    const ofStats = evaluation({
      weightBits: 4.5,
      activations: [{ ...evaluation(), scheme: 'static:8:mse', bits: 8 }],
      activationsFrom: { ...activationsFrom, corpus: { ...activationsFrom.corpus, sha256: 'eeee' } },
    });
    const hashes = (over: Partial<RunResult>) =>
      contents(renderRunPage(wholeReport(1, over)), 'dd').filter((text) =>
        /^SHA-256 (ab12|eeee)$/.test(text),
      );
    expect(hashes({})).toEqual(['SHA-256 ab12']); // of one text, which both are from
    expect(hashes({ evaluation: ofStats })).toEqual(['SHA-256 ab12', 'SHA-256 eeee']);
    const { activationsFrom: _, ...older } = wholeReport(1);
    expect(renderRunPage(older)).toMatch(
      /<h2>Activation ranges<\/h2>\n<p class="soft">[^<]*<\/p>\s*<details>/,
    );
  });

  it('has the ranges of the model and of each tensor, bulk and outliers apart', () => {
    const [section] = /<h2>Ranges<.*?<\/section>/s.exec(ranged)!;
    expect(contents(section, 'dl')).toEqual([
      'Chosen percentile=99.9, full, one a channel Of 151 M weights in 9 of 10 quantized tensors ' +
        'Clipped 0.0000238 % Became 0 50.0 % Bulk relative error 1.00e-2 Outliers relative error 4.44e-1 of 36 weights',
    ]);
    expect(contents(section, 'tr').slice(0, 2)).toEqual([
      'tensor rule one a low end high end clipped became 0 bulk outliers',
      'blk.0.attn_q.weight percentile=99.9, full channel -1.5 to -1 1 to 1.5 0.0000238 % 50.0 % 1.00e-2 4.44e-1',
    ]);
    expect(contents(section, 'tr')).toHaveLength(10);
    expect(section).not.toContain('<details');
    expect(whole).not.toContain('<h2>Ranges');
  });

  it('has the threshold where a tensor has one range, and a dash for outliers that are not there', () => {
    const none = { outliers: 0, outlierX2: 0, outlierE2: 0 };
    const one = { lowLeast: -0.0123456, lowMost: -0.0123456, highLeast: 0.0123456, highMost: 0.0123456 };
    const range = {
      rule: { kind: 'absmean' },
      granularity: 'tensor',
      symmetry: null,
      center: false,
    } as const;
    const page = renderRunPage(
      buildReport(
        result([
          [planned({ type: 'TQ2_0', encoder: 'TQ2_0:range', range }), rangedSums(1024, { ...none, ...one })],
        ]),
      ),
    );
    expect(contents(page, 'tr')).toContain(
      'blk.0.ffn_down.weight absmean tensor -0.0123 0.0123 0.391 % 50.0 % 2.48e-2 –',
    );
    expect(contents(page, 'dd')).toContain('none');
  });

  it('folds the ranges of many tensors behind the worst, under 2 MB for 32 layers', () => {
    const page = renderRunPage(rangedReport(32));
    const [section] = /<h2>Ranges<.*?<\/section>/s.exec(page)!;
    const [open, all] = section.split('<details>');
    expect(contents(open, 'tr')).toHaveLength(11);
    expect(contents(all, 'summary')).toEqual(['Every tensor: 288']);
    expect(contents(all, 'tr')).toHaveLength(289);
    expect(Buffer.byteLength(page)).toBeLessThan(2e6);
  });

  it('says how to make the file again', () => {
    const { text } = parseHtml(whole);
    expect(contents(whole, 'pre')).toEqual([
      'quantize &#39;my model&#39; --method gptq --report &#39;it&#39;\\&#39;&#39;s.html&#39;',
    ]);
    for (const fact of [
      'gguf-quantize 0.1.0',
      'SHA-256 34',
      'SHA-256 cd',
      'SHA-256 ef',
      'in: model.safetensors',
    ]) {
      expect(text).toContain(fact);
    }
  });
});

describe('colour scales', () => {
  // WCAG 2.2: relative luminance, contrast ratio.
  const luminance = (color: string) =>
    [0.2126, 0.7152, 0.0722].reduce((sum, weight, i) => {
      const value = Number.parseInt(color.slice(1 + 2 * i, 3 + 2 * i), 16) / 255;
      return sum + weight * (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
    }, 0);
  const rules = [...scaleStyles().matchAll(/\.(noise|bits)(\d)\{background:(#\w+);color:(#\w+)\}/g)];

  it.each(rules.map(([rule, ...parts]) => [rule, ...parts]))(
    '%s can be read',
    (_rule, _s, _i, back, text) => {
      const [low, high] = [luminance(back), luminance(text)].sort((a, b) => a - b);
      expect((high + 0.05) / (low + 0.05)).toBeGreaterThanOrEqual(4.5);
    },
  );

  it.each(['noise', 'bits'])('%s grows darker at every step, so that no hue has to be seen', (scale) => {
    const levels = rules.filter(([, name]) => name === scale).map(([, , , back]) => luminance(back));
    expect(levels).toHaveLength(7);
    for (let i = 1; i < 7; i++) expect((levels[i - 1] + 0.05) / (levels[i] + 0.05)).toBeGreaterThan(1.15);
  });
});

describe('markup', () => {
  it('escapes texts, takes markup and lists, and drops null', () => {
    const inner = html`<b>${'<&>"\''}</b>`;
    expect(html`${inner}${[1, inner]}${null}`.text).toBe(
      '<b>&lt;&amp;&gt;&quot;&#39;</b>1<b>&lt;&amp;&gt;&quot;&#39;</b>',
    );
  });

  it.each([
    ['model.gguf', 'model.gguf'],
    ['', "''"],
    ["a b's", "'a b'\\''s'"],
    ['ffn=Q6_K|x', "'ffn=Q6_K|x'"],
  ])('quotes %j for a shell', (word, quoted) => {
    expect(shellQuote(word)).toBe(quoted);
  });
});

it('tensors stand by the first number of their names', () => {
  const named = (name: string) => buildReport(result([[planned({ name }), sums(1024, 0.1)]])).tensors[0];
  const names = [
    'blk.10.a.weight',
    'blk.2.a.weight',
    'blk.2.b.3.weight',
    'v.blk.2.a.weight',
    'output.weight',
  ];
  const { kinds, layers, others } = layerGrid(names.map(named));
  expect(kinds).toEqual(['a', 'b.3', 'v.blk.a']);
  expect(layers.map(({ layer, tensors }) => [layer, ...tensors.map((placed) => placed?.index)])).toEqual([
    ['2', 1, 2, 3],
    ['10', 0, undefined, undefined],
  ]);
  expect(others.map(({ index }) => index)).toEqual([4]);
});
