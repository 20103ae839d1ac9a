import { fragments } from './fragments.ts';
import { UnusableTokenizerError, type Vocabulary } from './vocabulary.ts';

/** Words whose tokens are remembered; forgotten all at once, which costs little. */
const CACHE_SIZE = 65_536;
/** Longest word worth remembering, in UTF-16 units. */
const CACHED_LENGTH = 64;

/** Two neighbours that together are a token. */
interface Pair {
  readonly score: number;
  /** Symbols by their first character's number. */
  readonly left: number;
  readonly right: number;
  /** Where the two began and ended when this was found: if either has grown since, it no longer holds. */
  readonly middle: number;
  readonly end: number;
}

/**
 * SentencePiece BPE as llama.cpp runs it (`llm_tokenizer_spm_session`): of all neighbours that together are a token,
 * those whose token has the highest score are joined first, the leftmost of equals; characters that are no token
 * become their bytes.
 */
export class SentencePiece {
  readonly #vocabulary: Vocabulary;
  readonly #file: string;
  /** Two characters that stand side by side in some token, as first * 2^21 + second. Between others nothing is joined. */
  readonly #inside = new Set<number>();
  readonly #cache = new Map<string, readonly number[]>();

  constructor(vocabulary: Vocabulary, file: string) {
    this.#vocabulary = vocabulary;
    this.#file = file;
    for (const text of vocabulary.tokens) {
      let previous = -1;
      for (const character of text) {
        const code = character.codePointAt(0)!;
        if (previous >= 0) this.#inside.add(previous * 2 ** 21 + code);
        previous = code;
      }
    }
  }

  encode(text: string, special: boolean): number[] {
    const ids: number[] = [];
    let afterSpecial = true;
    for (const fragment of fragments(text, this.#vocabulary.specialTokens, special)) {
      if (typeof fragment === 'number') {
        ids.push(fragment);
        afterSpecial = true;
        continue;
      }
      const prefix = this.#vocabulary.addsSpace && afterSpecial ? ' ' : '';
      for (const word of this.#words((prefix + fragment).replaceAll(' ', '▁'))) this.#append(word, ids);
      afterSpecial = false;
    }
    return ids;
  }

  /** Cuts where no token can lie across, so that each piece stands for itself. */
  *#words(text: string): Generator<string> {
    let start = 0;
    let previous = -1;
    for (let at = 0; at < text.length; ) {
      const code = text.codePointAt(at)!;
      if (previous >= 0 && !this.#inside.has(previous * 2 ** 21 + code)) {
        yield text.slice(start, at);
        start = at;
      }
      previous = code;
      at += code > 0xffff ? 2 : 1;
    }
    if (start < text.length) yield text.slice(start);
  }

  #append(word: string, ids: number[]): void {
    let tokens = this.#cache.get(word);
    if (tokens === undefined) {
      tokens = this.#merge(word);
      if (this.#cache.size >= CACHE_SIZE) this.#cache.clear();
      if (word.length <= CACHED_LENGTH) this.#cache.set(word, tokens);
    }
    for (const id of tokens) ids.push(id);
  }

  #merge(word: string): readonly number[] {
    // Symbol i spans starts[i] to ends[i]; one that was joined to its left neighbour has ends[i] = starts[i].
    const starts: number[] = [];
    const ends: number[] = [];
    for (let at = 0; at < word.length; ) {
      starts.push(at);
      at += word.codePointAt(at)! > 0xffff ? 2 : 1;
      ends.push(at);
    }
    const count = starts.length;
    const previous = Int32Array.from({ length: count }, (_, i) => i - 1);
    const next = Int32Array.from({ length: count }, (_, i) => (i + 1 < count ? i + 1 : -1));
    const queue = new Queue();
    const consider = (left: number, right: number): void => {
      if (left < 0 || right < 0) return;
      const id = this.#vocabulary.ids.get(word.slice(starts[left], ends[right]));
      if (id === undefined) return;
      queue.push({ score: this.#vocabulary.scores[id], left, right, middle: ends[left], end: ends[right] });
    };
    for (let i = 1; i < count; i++) consider(i - 1, i);
    for (let pair = queue.pop(); pair !== undefined; pair = queue.pop()) {
      const { left, right, middle, end } = pair;
      if (ends[left] !== middle || ends[right] !== end) continue;
      ends[left] = end;
      ends[right] = starts[right];
      next[left] = next[right];
      if (next[right] >= 0) previous[next[right]] = left;
      consider(previous[left], left);
      consider(left, next[left]);
    }
    const ids: number[] = [];
    for (let i = 0; i >= 0; i = next[i]) {
      const symbol = word.slice(starts[i], ends[i]);
      const id = this.#vocabulary.ids.get(symbol);
      if (id !== undefined) ids.push(id);
      else this.#appendBytes(symbol, ids);
    }
    return ids;
  }

  /** Where there are no byte tokens llama.cpp stops; here, as in SentencePiece, the character is unknown. */
  #appendBytes(symbol: string, ids: number[]): void {
    const { ids: idOf, unknown } = this.#vocabulary;
    for (const byte of Buffer.from(symbol)) {
      const id = idOf.get(`<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`);
      if (id === undefined) {
        ids.push(this.#unknown(symbol, unknown));
        return;
      }
      ids.push(id);
    }
  }

  #unknown(symbol: string, id: number | null): number {
    if (id !== null) return id;
    throw new UnusableTokenizerError('a character of the text has no token', {
      file: this.#file,
      expected: `a token for ${JSON.stringify(symbol)}, tokens for bytes, or one for what is unknown`,
      got: 'none of them',
      advice: 'use text whose characters this model knows',
    });
  }
}

/** Pairs, the best first: a binary heap. */
class Queue {
  readonly #pairs: Pair[] = [];

  push(pair: Pair): void {
    const pairs = this.#pairs;
    let at = pairs.length;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(pair, pairs[parent])) break;
      pairs[at] = pairs[parent];
      at = parent;
    }
    pairs[at] = pair;
  }

  pop(): Pair | undefined {
    const pairs = this.#pairs;
    const best = pairs[0];
    const last = pairs.pop();
    if (last === undefined || pairs.length === 0) return best;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child + 1 < pairs.length && isBefore(pairs[child + 1], pairs[child])) child++;
      if (child >= pairs.length || !isBefore(pairs[child], last)) break;
      pairs[at] = pairs[child];
      at = child;
    }
    pairs[at] = last;
    return best;
  }
}

const isBefore = (a: Pair, b: Pair): boolean => a.score > b.score || (a.score === b.score && a.left < b.left);
