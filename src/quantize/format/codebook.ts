/** Levels of the coordinates of a point. */
export type Levels = ArrayLike<number>;

/**
 * A codebook: the points that the coordinates of a group of weights may take together. Built from its text (see
 * core/codebooks.ts) when it is first used; neighbours are found when they are first asked for.
 */
export class Codebook {
  readonly #text: string;
  readonly #radix: number;
  readonly #shells: number;
  readonly #neighbours = new Map<number, readonly number[]>();
  #built: { points: readonly (readonly number[])[]; indices: ReadonlyMap<number, number> } | undefined;

  /**
   * @param text members, as core/codebooks.ts notes them
   * @param radix levels of a coordinate: 3 for points of eight coordinates, 8 for points of four
   * @param shells how many of the smallest distances, among those that occur, make a neighbour
   */
  constructor(text: string, radix: 3 | 8, shells: number) {
    this.#text = text;
    this.#radix = radix;
    this.#shells = shells;
  }

  /** Coordinates of a point. */
  get dimensions(): number {
    return this.#radix === 3 ? 8 : 4;
  }

  /** The members' levels, by index. */
  get points(): readonly (readonly number[])[] {
    return this.#build().points;
  }

  /** The member with these levels, or undefined. */
  indexOf(levels: Levels): number | undefined {
    return this.#build().indices.get(this.#numberOf(levels));
  }

  /**
   * Members near a point that is none: those at the `shells` smallest distances, nearest first, in order of index
   * where equally near. Distance is the sum of squared differences of levels. ggml: iq2xs_init_impl, iq3xs_init_impl.
   */
  neighboursOf(levels: Levels): readonly number[] {
    const number = this.#numberOf(levels);
    let found = this.#neighbours.get(number);
    if (found === undefined) {
      const distances = this.points.map((point) =>
        point.reduce((sum, level, i) => sum + (level - levels[i]) ** 2, 0),
      );
      const nearest = [...new Set(distances)].sort((a, b) => a - b).slice(0, this.#shells);
      found = nearest.flatMap((shell) => [...distances.keys()].filter((index) => distances[index] === shell));
      this.#neighbours.set(number, found);
    }
    return found;
  }

  #numberOf(levels: Levels): number {
    let number = 0;
    for (let i = this.dimensions - 1; i >= 0; i--) number = number * this.#radix + levels[i];
    return number;
  }

  #build() {
    if (this.#built === undefined) {
      const numbers = [...this.#text.replaceAll('\n', '')].flatMap((character, i) =>
        [0, 1, 2, 3, 4]
          .filter((bit) => ((character.charCodeAt(0) - 48) >> bit) & 1)
          .map((bit) => 5 * i + bit),
      );
      const points = numbers.map((number) =>
        Array.from(
          { length: this.dimensions },
          (_, i) => Math.floor(number / this.#radix ** i) % this.#radix,
        ),
      );
      this.#built = { points, indices: new Map(numbers.map((number, index) => [number, index])) };
    }
    return this.#built;
  }
}
