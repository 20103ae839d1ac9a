/**
 * The candidate that `word` most likely is a slip of, or undefined: at most a third of its letters wrong (and three
 * in all), letter case not counted.
 */
export function closest(word: string, candidates: Iterable<string>): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.min(3, Math.max(1, Math.floor(word.length / 3))) + 1;
  for (const candidate of candidates) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return best;
}

/** The names closest to what was typed, best first: those at the smallest edit distance or one more, three at most. */
export function nearest(typed: string, names: readonly string[]): string[] {
  const ranked = names
    .map((name) => ({ name, distance: editDistance(letters(typed), letters(name)) }))
    .sort((a, b) => a.distance - b.distance);
  const limit = ranked[0].distance + 1;
  return ranked
    .filter(({ distance }) => distance <= limit)
    .slice(0, 3)
    .map(({ name }) => name);
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
