import { createHash } from 'node:crypto';
import { ForwardPass } from '../calibrate/forward/forward.ts';
import type { ForwardModel } from '../calibrate/forward/shape.ts';
import type { Step } from '../calibrate/forward/step.ts';
import type { Team } from '../compute/team.ts';
import { UsageError } from '../core/errors.ts';
import type { Evaluation } from '../core/evaluation.ts';
import { predictions } from './predictions.ts';
import { summarize } from './statistics.ts';

export interface EvaluationOptions {
  /** Has the modules '#compute-tasks' and '#forward-tasks'. */
  readonly team: Team;
  readonly model: ForwardModel;
  /** What the model is compared with, over the same vocabulary. */
  readonly base: ForwardModel | null;
  /** The text's tokens in windows of one length. */
  readonly windows: readonly Int32Array[];
  /** Takes the place of the first token of each window, where the model's tokenizer puts one first. */
  readonly bos: number | null;
  /** Bytes that hidden states may take outside the team's memory. */
  readonly stateBytes: number;
  readonly scratchDirectory: string;
  /** Hears of each step as it begins, and how many were done before, of how many. */
  readonly onStep?: (step: Step, done: number, total: number) => void;
}

/**
 * Perplexity and, against a base, divergence over windows of a text, by our own forward pass, as llama-perplexity of
 * llama.cpp v0.5.0 defines them.
 *
 * @throws UsageError, and the errors of the pass
 */
export function evaluate(options: EvaluationOptions): Omit<Evaluation, 'text'> {
  const { team, model, base, windows, bos, onStep = () => {} } = options;
  const context = windows[0]?.length ?? 0;
  if (context < 3) {
    throw new UsageError('the text is too short to evaluate', {
      expected: 'at least one window of 3 tokens',
      got: `${windows.length} windows of ${context} tokens`,
      advice: 'pass a longer text, or lower --context',
    });
  }
  const seen = windows.map((window) => {
    const copy = window.slice();
    if (bos !== null) copy[0] = bos;
    return copy;
  });
  const models = base === null ? [model] : [model, base];
  const passes: ForwardPass[] = [];
  const mark = team.arena.mark();
  try {
    for (const each of models) {
      const { scratchDirectory } = options;
      const stateBytes = options.stateBytes / models.length;
      passes.push(new ForwardPass({ team, model: each, windows: seen, stateBytes, scratchDirectory }));
    }
    const [own, reference = null] = passes;
    if (reference !== null && reference.shape.vocabulary !== own.shape.vocabulary) {
      throw new UsageError('the model and its base have different vocabularies', {
        file: model.path,
        expected: `${reference.shape.vocabulary} tokens, as ${base?.path}`,
        got: `${own.shape.vocabulary} tokens`,
        advice: 'compare a model with the one it was made from',
      });
    }
    const total = passes.reduce((sum, { stepCount }) => sum + stepCount, 0);
    let done = 0;
    for (const pass of passes) {
      for (const step of pass.steps()) {
        onStep(step, done++, total);
        step.advance();
      }
    }
    const hash = createHash('sha256');
    for (const window of windows) hash.update(window);
    return {
      sha256: hash.digest('hex'),
      context,
      windows: windows.length,
      ...summarize(predictions(own, reference, windows)),
    };
  } finally {
    for (const pass of passes.toReversed()) pass.close();
    team.arena.release(mark);
  }
}
