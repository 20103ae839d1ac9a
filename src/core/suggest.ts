/**
 * The candidate that `word` most likely is a slip of, or undefined: at most a third of its letters wrong (and three
 * in all), letter case not counted.
 */
export function closest(word: string, candidates: Iterable<string>): string | undefined {
  let best: string | undefined;
  let bestDistance = slipsIn(word) + 1;
  for (const candidate of candidates) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return best;
}

/** How many letters of a word may be wrong. */
const slipsIn = (word: string): number => Math.min(3, Math.max(1, Math.floor(word.length / 3)));

/**
 * "did you mean A, B?" with the names closest to what was typed, best first: of those near enough for `closest`, the
 * ones at the smallest edit distance or one more, three at most. Undefined where no name is near.
 */
export function didYouMean(typed: string, names: readonly string[]): string | undefined {
  const wanted = letters(typed);
  const ranked = names
    .map((name) => ({ name, distance: editDistance(wanted, letters(name)) }))
    .filter(({ distance }) => distance <= slipsIn(wanted))
    .sort((a, b) => a.distance - b.distance);
  const near = ranked.filter(({ distance }) => distance <= ranked[0].distance + 1).slice(0, 3);
  return near.length === 0 ? undefined : `did you mean ${near.map(({ name }) => name).join(', ')}?`;
}

/** Case and punctuation are what people get wrong in the names of types; they count for nothing. */
const letters = (name: string): string => name.toUpperCase().replace(/[^A-Z0-9]/g, '');

/**
 * Insertions, deletions, replacements and swaps of neighbours that turn a into b (Damerau-Levenshtein, optimal string
 * alignment).
 */
function editDistance(a: string, b: string): number {
  let twoBack: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const replace = previous[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1);
      row[j] = Math.min(replace, previous[j] + 1, row[j - 1] + 1);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        row[j] = Math.min(row[j], twoBack[j - 2] + 1);
      }
    }
    [twoBack, previous] = [previous, row];
  }
  return previous[b.length];
}
