import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Inlet } from './inlet.ts';
import { InletQueue } from './inletQueue.ts';

/** An inlet that is busy with a message of 9 until the test says otherwise, and fails at one of 13. */
class SlowInlet implements Inlet {
  readonly accepted: number[] = [];
  readonly finish: (() => void)[] = [];

  accept(bytes: Uint8Array): void | Promise<void> {
    const [number = 0] = bytes;
    this.accepted.push(number);
    if (number === 13) throw new Error('thirteen');
    if (number !== 9) return;
    return new Promise((resolve) => this.finish.push(resolve));
  }

  subscribed() {}

  close() {}
}

const unexpected = (error: unknown) => assert.fail(String(error));
const settled = () => new Promise<void>((resolve) => setImmediate(resolve));

describe('the messages of an inlet', () => {
  it('are accepted within the call while the inlet is not busy', () => {
    const inlet = new SlowInlet();
    const queue = new InletQueue(inlet, unexpected);
    for (const number of [1, 2, 3]) queue.receive(Uint8Array.of(number), {});
    assert.deepEqual(inlet.accepted, [1, 2, 3]);
    assert.throws(() => queue.receive(Uint8Array.of(13), {}), /thirteen/);
    queue.receive(Uint8Array.of(4), {});
    assert.deepEqual(inlet.accepted, [1, 2, 3, 13, 4]);
  });

  it('wait in order while the inlet is busy with one, and those of other inlets do not', async () => {
    const [busy, other] = [new SlowInlet(), new SlowInlet()];
    const failed: unknown[] = [];
    const [held, free] = [busy, other].map((inlet) => new InletQueue(inlet, (error) => failed.push(error)));
    for (const number of [9, 1, 13, 9, 2]) {
      held!.receive(Uint8Array.of(number), {});
      free!.receive(Uint8Array.of(5), {});
    }
    assert.deepEqual(busy.accepted, [9]);
    assert.deepEqual(other.accepted, [5, 5, 5, 5, 5]);
    busy.finish.shift()!();
    await settled();
    assert.deepEqual(busy.accepted, [9, 1, 13, 9]);
    assert.equal(failed.length, 1);
    held!.receive(Uint8Array.of(3), {});
    busy.finish.shift()!();
    await settled();
    assert.deepEqual(busy.accepted, [9, 1, 13, 9, 2, 3]);
    held!.receive(Uint8Array.of(4), {});
    assert.equal(busy.accepted.at(-1), 4, 'within the call again');
  });

  it('go no further once it is closed', async () => {
    const inlet = new SlowInlet();
    const queue = new InletQueue(inlet, unexpected);
    for (const number of [9, 1]) queue.receive(Uint8Array.of(number), {});
    queue.close();
    inlet.finish.shift()!();
    await settled();
    assert.deepEqual(inlet.accepted, [9]);
  });
});
