import type { Team } from '../compute/team.ts';
import {
  type ActivationGrid,
  type ActivationGroup,
  activationBits,
  rangeMethods,
} from '../core/activations.ts';
import { chooseActivationRange, Histogram, SIDE } from './activation-histogram.ts';
import { INPUT_ROWS } from './forward/activation-tasks.ts';
import type { ForwardPass } from './forward/forward.ts';
import type { GroupInput, Step } from './forward/step.ts';

/** Every grid that has ranges. */
const grids: readonly ActivationGrid[] = [true, false].flatMap((symmetric) =>
  activationBits.map((bits) => ({ bits, symmetric })),
);

/**
 * Ranges of the inputs of every matrix over all windows of a pass, by every method: from histograms of fixed size, which are
 * the same at any number of threads. Runs the whole pass; `onStep` hears of each step as it begins.
 *
 * @throws the errors of the pass
 */
export function collectActivationRanges(
  pass: ForwardPass,
  percent: number,
  onStep: (step: Step) => void = () => {},
): ActivationGroup[] {
  const found: ActivationGroup[] = [];
  const collect = (step: Step) => {
    onStep(step);
    const seen = step.groups.map(() => ({ histogram: new Histogram(), inputs: 0 }));
    step.advance((input) => {
      const own = seen[step.groups.indexOf(input.group)];
      addInput(pass.team, own.histogram, input);
      own.inputs += input.rows;
    });
    for (const [i, { tensors, expert, columns }] of step.groups.entries()) {
      const { histogram, inputs } = seen[i];
      found.push({
        ...{ tensors, expert, columns, inputs, min: histogram.min, max: histogram.max },
        // An expert that saw nothing has no range.
        ranges: (inputs === 0 ? [] : grids).flatMap((grid) =>
          rangeMethods.map((method) => ({
            ...grid,
            method,
            range: chooseActivationRange(histogram, grid, method, percent),
          })),
        ),
      });
    }
  };
  for (const step of pass.steps()) collect(step);
  collect(pass.output());
  return found;
}

/** Counts the values of some inputs. */
function addInput(team: Team, histogram: Histogram, { group, x, ldx, rows }: GroupInput): void {
  const { arena, scope, threads } = team;
  const { columns } = group;
  const pieces = Math.ceil(rows / INPUT_ROWS);
  arena.scoped(() => {
    const ends = arena.takeFloats(2 * pieces, 'ranges of inputs');
    team.run('inputExtremes', pieces, [rows, x, ldx, columns, ends]);
    for (let piece = 0; piece < pieces; piece++) {
      const [low, high] = scope.floats(ends + 8 * piece, 2);
      histogram.reachTo(low, high);
    }
    const { bins, width } = histogram;
    const counts = arena.take(4 * bins * threads, 'histograms of inputs');
    const all = new Uint32Array(scope.memory.buffer, counts, bins * threads);
    all.fill(0);
    team.run('countInputs', pieces, [rows, x, ldx, columns, 1 / width, SIDE, counts]);
    for (let thread = 0; thread < threads; thread++) {
      histogram.add(all.subarray(bins * thread, bins * (thread + 1)));
    }
  });
}
