import { type CalibrationPhase, type CalibrationTimes, calibrationPhases } from '../core/calibration.ts';

/** Clocks that run one inside another: time counts for the innermost. */
export class PhaseClock {
  readonly #spent = Object.fromEntries(calibrationPhases.map((phase) => [phase, 0])) as Record<
    CalibrationPhase,
    number
  >;
  readonly #started = performance.now();
  readonly #usage = process.cpuUsage();
  #current: CalibrationPhase | null = null;
  #since = this.#started;

  /** Runs `act` on the clock of a phase. */
  time<T>(phase: CalibrationPhase, act: () => T): T {
    const before = this.#switch(phase);
    try {
      return act();
    } finally {
      this.#switch(before);
    }
  }

  #switch(to: CalibrationPhase | null): CalibrationPhase | null {
    const now = performance.now();
    const from = this.#current;
    if (from !== null) this.#spent[from] += (now - this.#since) / 1000;
    this.#current = to;
    this.#since = now;
    return from;
  }

  /** Times so far. Processors are those of the whole process since the clock was made. */
  times(): CalibrationTimes {
    const { user, system } = process.cpuUsage(this.#usage);
    return { ...this.#spent, coresBusy: (user + system) / 1000 / (performance.now() - this.#started) };
  }
}
