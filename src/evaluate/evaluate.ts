import { createHash } from 'node:crypto';
import { Activations } from '../calibrate/forward/activations.ts';
import { ForwardPass, stepsOf } from '../calibrate/forward/forward.ts';
import { type ForwardModel, modelShape } from '../calibrate/forward/shape.ts';
import type { Step } from '../calibrate/forward/step.ts';
import { checkTensors } from '../calibrate/forward/tensors.ts';
import { WeightSource } from '../calibrate/forward/weights.ts';
import type { Team } from '../compute/team.ts';
import { type ActivationScheme, type ActivationStatistics, activationsName } from '../core/activations.ts';
import { UsageError } from '../core/errors.ts';
import type { ActivationEvaluation, Evaluation } from '../core/evaluation.ts';
import { storedType } from '../core/plan.ts';
import { bitsPerWeight, elementsOf } from '../core/types.ts';
import { LayerErrors } from './layers.ts';
import { predictions } from './predictions.ts';
import { rangesFor, requirePossible, requireSameVocabulary, typesOf } from './requirements.ts';
import { summarize } from './statistics.ts';

export interface EvaluationOptions {
  /** Has the modules '#compute-tasks' and '#forward-tasks'. */
  readonly team: Team;
  readonly model: ForwardModel;
  /** What the model is compared with, over the same vocabulary. */
  readonly base: ForwardModel | null;
  /** The text's tokens in windows of one length, which begin with BOS where the model's tokenizer adds one. */
  readonly windows: readonly Int32Array[];
  /** Quantizations of the activations under which the model is run too. */
  readonly activations?: readonly ActivationScheme[];
  /** Where static ones have their ranges. */
  readonly statistics?: ActivationStatistics | null;
  /** Whether to measure the outputs of each matrix against the base's. */
  readonly layers?: boolean;
  /** Bytes that hidden states may take outside the team's memory. */
  readonly stateBytes: number;
  readonly scratchDirectory: string;
  /** Hears of each step as it begins, and how many were done before, of how many. */
  readonly onStep?: (step: Step, done: number, total: number) => void;
}

/**
 * Perplexity and, against a base, divergence over windows of a text, by our own forward pass, as llama-perplexity of
 * llama.cpp v0.5.0 defines them; the same with quantized activations; and the error of each matrix's outputs.
 *
 * @throws UsageError, and the errors of the pass
 */
export function evaluate(options: EvaluationOptions): Omit<Evaluation, 'text'> {
  const { team, model, base, windows, layers = false, onStep = () => {} } = options;
  const schemes = options.activations ?? [];
  const context = windows[0]?.length ?? 0;
  if (context < 3) {
    throw new UsageError('the text is too short to evaluate', {
      expected: 'at least one window of 3 tokens',
      got: `${windows.length} windows of ${context} tokens`,
      advice: 'pass a longer text, or lower --context',
    });
  }
  requirePossible({ ...options, model: typesOf(model) });
  const mark = team.arena.mark();
  const stateBytes = options.stateBytes / (base === null ? 1 : 2);
  const open = (each: ForwardModel, activations: Activations | null) => {
    const { scratchDirectory } = options;
    return new ForwardPass({ team, model: each, windows, activations, stateBytes, scratchDirectory });
  };
  const simulated = (scheme: ActivationScheme) =>
    new Activations(team, scheme, rangesFor(scheme, options.statistics ?? null));
  let reference: ForwardPass | null = null;
  let done = 0;
  let total = 0;
  /** Runs the model, and hands its pass to `act`. */
  const run = <T>(activations: Activations | null, act: (pass: ForwardPass) => T): T => {
    const pass = open(model, activations);
    try {
      for (const step of pass.steps()) {
        onStep(step, done++, total);
        step.advance();
      }
      return act(pass);
    } finally {
      pass.close();
    }
  };
  const predict = (pass: ForwardPass) => summarize(predictions(pass, reference, windows));
  try {
    const shape = modelShape(model);
    total = stepsOf(shape) * (1 + schemes.length);
    let errors: LayerErrors | null = null;
    if (base !== null) {
      reference = open(base, null);
      total += reference.stepCount;
      requireSameVocabulary(model, shape, base, reference.shape);
      if (layers) {
        const source = new WeightSource(team, model, checkTensors(model, shape));
        errors = new LayerErrors(team, source, model.path, schemes.map(simulated));
      }
      for (const step of reference.steps()) {
        onStep(step, done++, total);
        if (errors === null) step.advance();
        else errors.advance(step);
      }
      errors?.output(reference);
    }
    const figures = run(null, predict);
    const quantized = schemes.map((scheme): ActivationEvaluation => {
      const activations = simulated(scheme);
      const { tokens: _, ...found } = run(activations, predict);
      const { bits, floatInputs, operations } = activations;
      return {
        ...{ scheme: activationsName(scheme), bits, ...found },
        ...(floatInputs && { floatInputs }),
        ...(operations && { operations }),
      };
    });
    const hash = createHash('sha256');
    for (const window of windows) hash.update(window);
    return {
      sha256: hash.digest('hex'),
      context,
      windows: windows.length,
      ...figures,
      ...(options.activations && { weightBits: meanBits(model), activations: quantized }),
      ...(errors && { layers: errors.found }),
    };
  } finally {
    reference?.close();
    team.arena.release(mark);
  }
}

/** Mean bits of a weight, scales included. */
function meanBits({ tensors }: ForwardModel): number {
  const counts = tensors.map(({ shape }) => elementsOf(shape));
  const bits = tensors.reduce((sum, { source }, i) => sum + counts[i] * bitsPerWeight(storedType(source)), 0);
  return bits / counts.reduce((sum, count) => sum + count, 0);
}
