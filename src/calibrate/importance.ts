import type { Team } from '../compute/team.ts';
import type { CollectedImportance } from '../core/calibration.ts';
import type { ForwardPass } from './forward/forward.ts';
import type { InputGroup, Step } from './forward/step.ts';
import { COLUMNS } from './forward/tasks.ts';

/**
 * Sums of the squares of what each weight of a model is multiplied with, by column, over all windows of a pass: what
 * llama-imatrix collects (`collect_imatrix`), and the output matrix, which may be the embedding. Stacked experts: the sums and
 * counts of one after another, each over the tokens it was sent. Runs the whole pass; `onStep` hears of each step as it begins.
 *
 * @throws the errors of the pass
 */
export function collectImportance(
  pass: ForwardPass,
  onStep: (step: Step) => void = () => {},
): CollectedImportance[] {
  const collected = new Map<string, { sums: number[]; counts: number[] }>();
  const collect = (step: Step) => {
    onStep(step);
    for (const { group, sums, count } of sumsOf(pass.team, step)) {
      for (const name of group.tensors) {
        const entry = collected.get(name) ?? { sums: [], counts: [] };
        for (const sum of sums) entry.sums.push(sum);
        entry.counts.push(count);
        collected.set(name, entry);
      }
    }
  };
  for (const step of pass.steps()) collect(step);
  collect(pass.output());
  return [...collected].map(([name, { sums, counts }]) => ({ name, sums: Float32Array.from(sums), counts }));
}

/** Runs a step and sums the squares of its groups' inputs, in float64. */
function sumsOf(team: Team, step: Step): { group: InputGroup; sums: Float64Array; count: number }[] {
  return team.arena.scoped(() => {
    const places = step.groups.map((group) => {
      const address = team.arena.take(8 * group.columns, 'importance');
      team.scope.doubles(address, group.columns).fill(0);
      return { group, address, count: 0 };
    });
    step.advance(({ group, x, ldx, rows }) => {
      const place = places[step.groups.indexOf(group)];
      const { columns } = group;
      team.run('columnSquares', Math.ceil(columns / COLUMNS), [rows, x, ldx, columns, place.address]);
      place.count += rows;
    });
    return places.map(({ group, address, count }) => ({
      group,
      sums: team.scope.doubles(address, group.columns).slice(),
      count,
    }));
  });
}
