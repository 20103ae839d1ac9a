import { tmpdir } from 'node:os';
import type { Activations } from '../../src/calibrate/forward/activations.ts';
import { ForwardPass } from '../../src/calibrate/forward/forward.ts';
import type { ForwardModel } from '../../src/calibrate/forward/shape.ts';
import type { GroupInput, InputGroup, Step } from '../../src/calibrate/forward/step.ts';
import * as forwardTasks from '../../src/calibrate/forward/tasks.ts';
import * as computeTasks from '../../src/compute/tasks.ts';
import { Team } from '../../src/compute/team.ts';
import { planQuantization } from '../../src/pipeline.ts';
import { compileKernels } from '../../src/quantize/kernels.ts';

/** A team that can run a forward pass. */
export const forwardTeam = (threads: number, bytes = 512 << 20): Team =>
  new Team({
    threads,
    bytes,
    scratchBytes: 1 << 20,
    modules: [
      { specifier: '#compute-tasks', module: computeTasks },
      { specifier: '#forward-tasks', module: forwardTasks },
    ],
    quantization: compileKernels(),
  });

/** A checkpoint or GGUF file as the forward pass takes it. */
export function forwardModel(input: string): ForwardModel {
  const { plan } = planQuantization({ input, type: 'F32', allowRequantize: true });
  return { path: input, files: plan.checkpoint.files, metadata: plan.metadata, tensors: plan.tensors };
}

/** A pass over windows; everything in memory unless told. */
export const forwardPass = (
  team: Team,
  model: ForwardModel,
  windows: readonly Int32Array[],
  stateBytes = 1 << 30,
  activations: Activations | null = null,
): ForwardPass =>
  new ForwardPass({ team, model, windows, activations, stateBytes, scratchDirectory: tmpdir() });

/** Runs all steps. */
export function advance(pass: ForwardPass): void {
  for (const step of pass.steps()) step.advance();
}

/** Logits of every window, a row for each token. */
export function logitsOf(
  team: Team,
  model: ForwardModel,
  windows: readonly Int32Array[],
  stateBytes?: number,
  activations: Activations | null = null,
): Float32Array[] {
  const pass = forwardPass(team, model, windows, stateBytes, activations);
  advance(pass);
  const logits = logitsBehind(pass);
  pass.close();
  return logits;
}

/** Visits the inputs of a group in every slab that has any. */
export function eachInput(
  team: Team,
  step: Step,
  group: InputGroup,
  visit: (input: GroupInput) => void,
): void {
  for (const slab of step.slabs) {
    team.arena.scoped(() => {
      const input = step.inputOf(group, slab);
      if (input !== null) visit(input);
    });
  }
}

/** The same of a pass behind its last step. */
export function logitsBehind(pass: ForwardPass): Float32Array[] {
  const { team, source, shape } = pass;
  const { vocabulary } = shape;
  const logits: Float32Array[] = [];
  team.arena.scoped(() => {
    const output = pass.output();
    const weight = source.load(output.matrix);
    const [group] = output.groups;
    eachInput(team, output, group, ({ x, ldx, rows }) => {
      const c = team.arena.takeFloats(rows * vocabulary, 'logits');
      pass.multiply({ group, x, ldx, rows }, weight, { x: c, ld: vocabulary });
      for (let row = 0; row < rows; row++) {
        logits.push(team.scope.floats(c + 4 * row * vocabulary, vocabulary).slice());
      }
    });
  });
  return logits;
}
