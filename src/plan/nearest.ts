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

/** Case and punctuation are what people get wrong; they count for nothing. */
const letters = (name: string): string => name.toUpperCase().replace(/[^A-Z0-9]/g, '');

/** Levenshtein distance: insertions, deletions and replacements that turn a into b. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, row[j] + 1, next[j - 1] + 1));
    }
    row = next;
  }
  return row[b.length];
}
