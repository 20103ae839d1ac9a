/** A thread of a team: learns at its port what it works with, waits for a command, takes pieces of it, waits again. */
import { pathToFileURL } from 'node:url';
import { type MessagePort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { openScope, type Task, type TaskModule, type TaskScope } from './scope.ts';
import { CONTROL, type Command, failureOf, type MemberData, takePieces } from './team-protocol.ts';

const { port } = workerData as { port: MessagePort };
const { scope: options, control, modules }: MemberData = receiveMessageOnPort(port)!.message;

const tasks = new Map<string, Task>();

/** Null where the conductor was told why there is none. */
async function prepare(): Promise<TaskScope | null> {
  try {
    const scope = openScope(options);
    for (const path of modules) {
      const module: TaskModule = await import(pathToFileURL(path).href);
      for (const [name, task] of Object.entries(module.tasks)) tasks.set(name, task);
    }
    return scope;
  } catch (error) {
    port.postMessage(failureOf(error));
    return null;
  }
}

const scope = await prepare();
Atomics.add(control, CONTROL.ready, 1);
Atomics.notify(control, CONTROL.ready);

for (let seen = 0; scope !== null; ) {
  Atomics.wait(control, CONTROL.generation, seen);
  if (Atomics.load(control, CONTROL.stop) !== 0) break;
  const received = receiveMessageOnPort(port) as { message: Command } | undefined;
  if (received === undefined) continue; // woken without a command
  seen++;
  const { name, count, args, payload } = received.message;
  try {
    takePieces(control, count, (index) => tasks.get(name)!(scope, index, args, payload));
  } catch (error) {
    Atomics.store(control, CONTROL.next, count);
    port.postMessage(failureOf(error));
  }
  Atomics.sub(control, CONTROL.busy, 1);
  Atomics.notify(control, CONTROL.busy);
}
port.close();
