import { readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'vitest';
import { Activations } from '../../src/calibrate/forward/activations.ts';
import { ForwardPass } from '../../src/calibrate/forward/forward.ts';
import { parseActivations } from '../../src/core/activations.ts';
import { repository } from '../support/checkpoints.ts';
import { conversions, sotu } from '../support/conversions.ts';
import { advance, forwardModel, forwardTeam, logitsBehind } from '../support/forward.ts';
import { multiply } from '../../src/compute/gemm.ts';
import { Llama } from './llama.ts';

it('x', async () => {
  const text = readFileSync(join(repository, 'fixtures/text/eval.txt'), 'utf8');
  const convert = conversions(sotu);
  const team = forwardTeam(2);
  for (const type of ['Q8_0', 'Q4_0', 'Q4_K_M', 'TQ2_0', 'F16']) {
    const { path } = await convert({ type });
    const llama = Llama.load(path, { context: 256, exact: true });
    const tokens = llama.tokenize(text).slice(0, 256);
    const expected = llama.logits(tokens);
    llama.free();
    for (const scheme of ['none', 'dynamic-block', 'dynamic']) {
      const activations = new Activations(team, parseActivations(scheme), null);
      const pass = new ForwardPass({ team, model: forwardModel(path), windows: [tokens], activations, stateBytes: 1 << 28, scratchDirectory: tmpdir() });
      advance(pass);
      const got: Float32Array[] = [];
      team.arena.scoped(() => {
        const output = pass.output();
        const weight = pass.source.load(output.matrix);
        const v = pass.shape.vocabulary;
        output.forEachInput(output.groups[0], (x, ldx, rows) => {
          const c = team.arena.takeFloats(rows * v, 'logits');
          pass.multiply({ group: output.groups[0], x, ldx, rows }, weight, { x: c, ld: v });
          for (let r = 0; r < rows; r++) got.push(team.scope.floats(c + 4 * r * v, v).slice());
        });
      });
      pass.close();
      const rel = expected.map((row, i) => {
        let [e, s] = [0, 0];
        row.forEach((x, j) => { e += (x - got[i][j]) ** 2; s += x * x; });
        return Math.sqrt(e / s);
      });
      console.log(type, scheme, rel.slice(0, 4).map((x) => x.toExponential(1)).join(' '), 'mean', (rel.reduce((a, b) => a + b) / 256).toExponential(2));
    }
  }
  team.close();
}, 300000);
