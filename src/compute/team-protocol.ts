import type { ScopeOptions } from './scope.ts';

/** Slots of the array that conductor and workers of a team share. */
export const CONTROL = {
  /** Counts commands; workers wait for it to change. */
  generation: 0,
  /** Next piece to take. */
  next: 1,
  /** Workers that have not finished the command; the conductor waits for 0. */
  busy: 2,
  /** Not 0: the team is closed. */
  stop: 3,
  /** Workers that wait for commands, or could not be made ready for them and have said why. */
  ready: 4,
  slots: 5,
} as const;

/** What a thread is told first. */
export interface MemberData {
  readonly scope: ScopeOptions;
  readonly control: Int32Array;
  /** Paths of the modules whose tasks it can run. */
  readonly modules: readonly string[];
}

/** What all threads do next. */
export interface Command {
  readonly name: string;
  readonly count: number;
  readonly args: readonly number[];
  readonly payload: unknown;
}

/** An error of a piece of work, as it can be sent. */
export interface MemberFailure {
  readonly message: string;
  readonly stack: string | undefined;
  /** What the task says of a failure that is no bug: the error's `failure` property. */
  readonly failure: unknown;
}

/** Takes pieces until there are none. */
export function takePieces(control: Int32Array, count: number, act: (index: number) => void): void {
  for (;;) {
    const index = Atomics.add(control, CONTROL.next, 1);
    if (index >= count) return;
    act(index);
  }
}

export const failureOf = (error: unknown): MemberFailure => {
  const { message, stack, failure } = error as Error & { failure?: unknown };
  return { message, stack, failure };
};
