import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { renderEvaluationPage } from '../../src/report/html/evaluation-page.ts';
import { renderRunPage } from '../../src/report/html/run-page.ts';
import { renderSideBySidePage } from '../../src/report/html/side-by-side-page.ts';
import { buildReport } from '../../src/report/report.ts';
import { compareRuns } from '../../src/report/side-by-side.ts';
import { Chromium, findChromium } from '../support/chromium.ts';
import { evaluatedModel, rangedReport, wholeReport } from '../support/reports.ts';
import { planned, result, sums } from '../support/results.ts';
import { temporaryDirectory } from '../support/temporary.ts';

/** Pages in a real browser: Debian's chromium, where there is one. */

const path = findChromium();
const directory = temporaryDirectory();
const facts = { command: ['eval', 'm.gguf', '--text', 'e.txt'], host: wholeReport(1).run.host };
const pages = {
  run: renderRunPage(wholeReport(32)),
  'chosen ranges': renderRunPage(rangedReport(2)),
  'an evaluation': renderEvaluationPage(
    [evaluatedModel('models/m-Q4_K_M.gguf', 32, ['dynamic:8', 'static:8:mse', 'static:4:asymmetric:mse'])],
    facts,
  ),
  'two evaluations': renderEvaluationPage(
    [
      evaluatedModel('m-Q8_0.gguf', 4, ['dynamic:8'], {
        notApplied: [{ scheme: 'bitlinear', reason: 'no matrix has ternary weights' }],
      }),
      evaluatedModel('m-TQ2_0.gguf', 4, ['dynamic:8', 'bitlinear']),
    ],
    facts,
  ),
  'side by side': renderSideBySidePage(
    compareRuns(
      [0.1, 0.2, 0.3].map((error, i) => ({
        name: `run ${i}`,
        report: buildReport(
          result([[planned(), sums(1024, error)]], { fileBytes: 5000 + 1000 * ((5 - i) % 4) }),
        ),
      })),
    ),
    '1.2.3',
  ),
};
const views = [
  ['light', 1120, 'light'],
  ['dark', 1120, 'dark'],
  ['narrow and light', 390, 'light'],
  ['narrow and dark', 390, 'dark'],
] as const;

/**
 * Runs in the page: every element that shows text of its own, with the WCAG contrast of its colour to what is behind it,
 * and whether it is large by WCAG's measure.
 */
const contrasts = `(() => {
  const parse = (color) => color.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => [r, g, b].reduce((sum, value, i) => {
    const c = value / 255;
    return sum + [0.2126, 0.7152, 0.0722][i] * (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  }, 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = parse(getComputedStyle(at).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
      if (color[3] > 0) throw new Error('a translucent background');
    }
    throw new Error('no background');
  };
  const found = [];
  for (const element of document.body.querySelectorAll('*')) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim() !== '');
    if (!own || element.closest('svg')) continue;
    const style = getComputedStyle(element);
    const [a, b] = [luminance(parse(style.color)), luminance(behind(element))].sort((x, y) => x - y);
    const size = parseFloat(style.fontSize);
    found.push({
      text: element.textContent.trim().slice(0, 40),
      name: element.localName + '.' + element.className,
      contrast: (b + 0.05) / (a + 0.05),
      large: size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700),
    });
  }
  return found;
})()`;

/** Elements that a screen reader would meet without a name. */
const nameless = `[...document.querySelectorAll('a, summary, [role], svg:not([aria-hidden]), [tabindex]')]
  .filter((element) => !(element.getAttribute('aria-label') || element.textContent.trim()))
  .map((element) => element.outerHTML.slice(0, 80))`;

describe.skipIf(path === null)(`pages in ${path ?? 'chromium, which is not installed'}`, () => {
  let browser: Chromium;
  const problems: string[] = [];
  const requests: string[] = [];
  const urlOf = (name: string) => pathToFileURL(join(directory, `${name}.html`)).href;

  beforeAll(async () => {
    for (const [name, page] of Object.entries(pages)) writeFileSync(join(directory, `${name}.html`), page);
    browser = await Chromium.start(path!);
    browser.on('Runtime.consoleAPICalled', (event) => void problems.push(JSON.stringify(event)));
    browser.on('Runtime.exceptionThrown', (event) => void problems.push(JSON.stringify(event)));
    browser.on('Log.entryAdded', (event) => void problems.push(JSON.stringify(event)));
    browser.on('Network.requestWillBeSent', ({ request }) => {
      requests.push((request as { url: string }).url);
    });
  });
  afterAll(() => browser?.stop());

  it('would notice a console error and a request', async () => {
    writeFileSync(
      join(directory, 'bad.html'),
      '<!doctype html><img src="http://127.0.0.1:9/x.png"><script>console.error("bad")</script>',
    );
    await browser.open(urlOf('bad'));
    expect(problems.join()).toContain('bad');
    expect(requests).toContain('http://127.0.0.1:9/x.png');
  });

  describe.each(Object.keys(pages))('%s', (name) => {
    it.each(views)(
      '%s: no console message, no request, nothing wider than the window',
      async (_view, width, scheme) => {
        await browser.open('about:blank');
        [problems.length, requests.length] = [0, 0];
        await browser.view(width, 900, scheme);
        await browser.open(urlOf(name));
        await browser.evaluate(
          'document.querySelectorAll("details").forEach((each) => { each.open = true; })',
        );
        expect(await browser.evaluate('document.documentElement.scrollWidth')).toBeLessThanOrEqual(width);
        expect(problems).toEqual([]);
        expect(requests.filter((url) => url !== 'data:,')).toEqual([urlOf(name)]);
      },
    );

    it.each(views)('%s: text stands out from what is behind it', async (_view, width, scheme) => {
      await browser.view(width, 900, scheme);
      await browser.open(urlOf(name));
      type Text = { text: string; name: string; contrast: number; large: boolean };
      const texts = await browser.evaluate<Text[]>(contrasts);
      expect(texts.length).toBeGreaterThan(20);
      expect(texts.filter(({ contrast, large }) => contrast < (large ? 3 : 4.5)).slice(0, 5)).toEqual([]);
      const dark = await browser.evaluate<string>('getComputedStyle(document.body).backgroundColor');
      expect(dark).toBe(scheme === 'dark' ? 'rgb(20, 22, 26)' : 'rgb(251, 250, 248)');
    });

    it('has a name for all that can be focused or is drawn', async () => {
      await browser.open(urlOf(name));
      expect(await browser.evaluate(nameless)).toEqual([]);
    });

    it('is printed dark on white', async () => {
      await browser.view(800, 900, 'dark', 'print');
      await browser.open(urlOf(name));
      const texts = await browser.evaluate<{ contrast: number }[]>(contrasts);
      expect(texts.filter(({ contrast }) => contrast < 4.5).slice(0, 5)).toEqual([]);
      expect(await browser.evaluate('getComputedStyle(document.body).backgroundColor')).toBe(
        'rgb(255, 255, 255)',
      );
    });
  });

  it('a cell of the map leads to its histogram, which opens', async () => {
    await browser.view(1120, 900, 'light');
    await browser.open(urlOf('run'));
    const open = 'document.querySelectorAll("details[open]").length';
    expect(await browser.evaluate(open)).toBe(0);
    await browser.evaluate('document.querySelector("td a[href=\'#t5\']").click()');
    await expect.poll(() => browser.evaluate(open)).toBe(1);
    expect(await browser.evaluate('document.querySelector("#t5").closest("details").open')).toBe(true);
  });
});
