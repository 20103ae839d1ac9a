import { fileURLToPath } from 'node:url';
import { afterEach, expect, test } from 'vitest';
import { MemoryBudgetError } from '../../src/compute/arena.ts';
import type { TaskModule } from '../../src/compute/scope.ts';
import { type TaskFailure, Team } from '../../src/compute/team.ts';

const path = fileURLToPath(new URL('./tasks.js', import.meta.url));
const module: TaskModule = await import(path);
const open: Team[] = [];
const team = (threads: number, bytes = 1 << 22) => {
  const made = new Team({
    threads,
    bytes,
    scratchBytes: 1024,
    modules: [{ specifier: path, module }],
    quantization: null,
  });
  open.push(made);
  return made;
};
afterEach(() => {
  for (const made of open.splice(0)) made.close();
});

test.each([1, 2, 5])('%i threads execute every piece once', (threads) => {
  const crew = team(threads);
  const count = 1000;
  const address = crew.arena.take(8 * count, 'marks');
  const marks = () => new Int32Array(crew.scope.memory.buffer, address, 2 * count);
  for (let round = 1; round <= 20; round++) {
    crew.run('mark', count, [address]);
    expect(marks().filter((_, i) => i % 2 === 0 && marks()[i] !== round)).toHaveLength(0);
  }
});

test('all threads work', () => {
  const crew = team(3);
  const address = crew.arena.take(64, 'counts');
  for (let round = 0; round < 10; round++) crew.run('slow', 12, [address]);
  expect([...new Int32Array(crew.scope.memory.buffer, address, 3)].every((pieces) => pieces > 0)).toBe(true);
});

test('what a task refuses comes with what it said, and the team goes on', () => {
  const crew = team(3);
  for (let round = 0; round < 5; round++) {
    try {
      crew.run('refuse', 10);
      expect.unreachable();
    } catch (error) {
      expect((error as TaskFailure).failure).toEqual({ piece: 3 });
    }
    const address = crew.arena.takeFloats(8, 'values');
    crew.run('echo', 8, [address], { values: [1, 2, 3, 4, 5, 6, 7, round] });
    expect([...crew.scope.floats(address, 8)]).toEqual([1, 2, 3, 4, 5, 6, 7, round]);
  }
});

test('when several threads refuse, nothing of it is left for the next run', () => {
  const crew = team(3);
  const address = crew.arena.take(64, 'count');
  expect(() => crew.run('refuseTogether', 3, [address])).toThrow('refuseTogether failed');
  crew.run('mark', 8, [crew.arena.take(64, 'marks')]);
});

test('a bug is thrown as it is', () => {
  expect(() => team(2).run('crash', 10)).toThrow('a bug');
  expect(() => team(1).run('nothing', 1)).toThrow('no task is named nothing');
});

test('a thread that cannot begin ends every run, and keeps nobody waiting', () => {
  const lame = new Team({
    ...{ threads: 3, bytes: 1 << 22, scratchBytes: 1024, quantization: null },
    modules: [{ specifier: `${path}.none`, module }],
  });
  open.push(lame);
  for (let round = 0; round < 2; round++) {
    expect(() => lame.run('refuse', 3)).toThrow(/could not be made ready[\s\S]*tasks\.js\.none/);
  }
});

test('an arena gives buffers on lines of 64 bytes and takes them back in order', () => {
  const { arena } = team(1);
  const mark = arena.mark();
  const first = arena.take(10, 'a');
  const second = arena.scoped(() => arena.takeFloats(3, 'b'));
  expect([first % 64, second - first]).toEqual([0, 64]);
  arena.release(mark);
  expect(arena.take(10, 'a')).toBe(first);
  expect(() => arena.take(1 << 22, 'a large thing')).toThrow(MemoryBudgetError);
  expect(() => arena.take(1 << 22, 'a large thing')).toThrow(/a large thing/);
});
