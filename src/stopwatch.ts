import { type Stage, stages } from './core/result.ts';

/** Time spent in each stage. */
export class Stopwatch {
  readonly #spent = Object.fromEntries(stages.map((stage) => [stage, 0])) as Record<Stage, number>;
  readonly #started = performance.now();
  #current: Stage | null = null;
  #since = this.#started;

  enter(stage: Stage): void {
    this.stop();
    this.#current = stage;
  }

  stop(): void {
    const now = performance.now();
    if (this.#current) this.#spent[this.#current] += (now - this.#since) / 1000;
    this.#current = null;
    this.#since = now;
  }

  seconds(): Record<Stage | 'total', number> {
    return { ...this.#spent, total: (this.#since - this.#started) / 1000 };
  }
}
