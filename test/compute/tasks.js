/** Tasks for the tests of the team. */
export const tasks = {
  /** args: address of an int32 counter for each piece. */
  mark: ({ memory, thread }, index, [address]) => {
    const marks = new Int32Array(memory.buffer, address);
    Atomics.add(marks, 2 * index, 1);
    marks[2 * index + 1] = thread;
  },
  /** Takes its time, so that every thread gets a piece. */
  slow: ({ memory, thread }, _index, [address]) => {
    Atomics.add(new Int32Array(memory.buffer, address), thread, 1);
    const until = performance.now() + 20;
    while (performance.now() < until);
  },
  refuse: (_scope, index) => {
    if (index === 3) throw Object.assign(new Error('no'), { failure: { piece: index } });
  },
  /** Every thread refuses, once all of them have a piece. args: address of an int32 that counts them. */
  refuseTogether: ({ memory, threads }, _index, [address]) => {
    const arrived = new Int32Array(memory.buffer, address, 1);
    Atomics.add(arrived, 0, 1);
    while (Atomics.load(arrived, 0) < threads);
    throw Object.assign(new Error('no'), { failure: 'together' });
  },
  crash: (_scope, index) => {
    if (index === 5) throw new RangeError('a bug');
  },
  echo: ({ floats }, index, [address], payload) => {
    floats(address, index + 1)[index] = payload.values[index];
  },
};
