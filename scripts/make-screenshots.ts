/**
 * Takes the screenshots of docs/ in headless Chromium: a report of the bundled model, light, dark and 390 pixels wide,
 * and runs side by side. Run after `npm run build`, by `npm run screenshots` (with Node 24, which reads TypeScript).
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { Chromium, findChromium } from '../test/support/chromium.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const types = ['Q2_K', 'Q3_K_M', 'IQ4_XS', 'Q4_0', 'Q4_K_M', 'Q5_1', 'Q5_K_M', 'Q6_K', 'Q8_0'];
const shots = [
  { name: 'report-light', page: 'Q4_K_M', width: 1120, height: 1180, scheme: 'light', act: '0' },
  {
    name: 'report-dark',
    page: 'Q4_K_M',
    width: 1120,
    height: 900,
    scheme: 'dark',
    act: `const all = [...document.querySelectorAll('details')];
      all[1].open = true;
      all[2].open = true;
      all[0].closest('section').scrollIntoView()`,
  },
  { name: 'report-narrow', page: 'Q4_K_M', width: 390, height: 1180, scheme: 'light', act: '0' },
  { name: 'report-runs', page: 'runs', width: 1120, height: 1180, scheme: 'light', act: '0' },
] as const;

const path = findChromium();
if (path === null) throw new Error('there is no chromium in the PATH');
const directory = mkdtempSync(join(tmpdir(), 'screenshots-'));
symlinkSync(join(root, 'fixtures/sotu-3m'), join(directory, 'sotu-3m'));
const quantize = (...argv: string[]) =>
  execFileSync(process.execPath, [join(root, 'bin/quantize.js'), ...argv], {
    cwd: directory,
    stdio: 'ignore',
  });
for (const type of types) {
  const reports = ['--report', `${type}.json`, '--report', `${type}.html`];
  quantize('sotu-3m', '--type', type, '-o', `${type}.gguf`, ...reports);
}
quantize('report', ...types.map((type) => `${type}.json`), '-o', 'runs.html');

const browser = await Chromium.start(path);
for (const { name, page, width, height, scheme, act } of shots) {
  await browser.view(width, height, scheme);
  await browser.open(pathToFileURL(join(directory, `${page}.html`)).href);
  await browser.evaluate(act);
  await new Promise((resolve) => setTimeout(resolve, 300));
  writeFileSync(join(root, 'docs', `${name}.png`), await browser.screenshot());
}
await browser.stop();
rmSync(directory, { recursive: true });
