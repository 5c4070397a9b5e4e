import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { RingBudget, RoomRing, type Stored } from './roomRing.ts';

const message = (seq: number, size = 1): Stored => ({ seq, at: 0, bytes: new Uint8Array(size) });
const numbersIn = (ring: RoomRing) => ring.between(0, Number.POSITIVE_INFINITY).map(({ seq }) => seq);

describe('the ring of a room', () => {
  it('has everything after its floor, up to the number of messages that the policy keeps', () => {
    const ring = new RoomRing(new RingBudget(), 4);
    for (const seq of [6, 9, 12, 13]) ring.add(message(seq), 3);
    assert.deepEqual(numbersIn(ring), [9, 12, 13]);
    assert.equal(ring.floor, 6);
    assert.deepEqual(
      ring.between(9, 12).map(({ seq }) => seq),
      [12],
    );
  });

  it('takes what was read of before its floor, the newest first, as far as there is room', () => {
    const ring = new RoomRing(new RingBudget(), 10);
    ring.add(message(12), 100);
    ring.extend([message(7), message(9)], 4, 100);
    assert.deepEqual([numbersIn(ring), ring.floor], [[7, 9, 12], 4]);
    ring.extend([message(2), message(4)], 1, 4);
    assert.deepEqual([numbersIn(ring), ring.floor], [[4, 7, 9, 12], 2]);
    const small = new RoomRing(new RingBudget(1_000), 10);
    small.extend([message(8, 500), message(9, 500)], 4, 100);
    assert.deepEqual([numbersIn(small), small.floor], [[9], 8]);
  });

  it('copies what it keeps: the bus has more in the same memory', () => {
    const ring = new RoomRing(new RingBudget(), 0);
    const bytes = new Uint8Array([1, 2]);
    ring.add({ seq: 1, at: 0, bytes }, 1);
    bytes[0] = 9;
    assert.deepEqual([...ring.between(0, 1)[0]!.bytes], [1, 2]);
  });

  it('holds half a megabyte at most, also of one message that is larger', () => {
    const budget = new RingBudget();
    const ring = new RoomRing(budget, 0);
    for (let seq = 1; seq <= 20; seq++) ring.add(message(seq, 100_000), 100);
    assert.deepEqual(numbersIn(ring), [16, 17, 18, 19, 20]);
    assert.ok(budget.bytes <= 524_288);
    ring.add(message(21, 600_000), 100);
    assert.deepEqual([numbersIn(ring), ring.floor, budget.bytes], [[], 21, 0]);
  });

  it('shares the memory of the gateway, and gives it back', () => {
    const budget = new RingBudget(10_000);
    const [full, other] = [new RoomRing(budget, 0), new RoomRing(budget, 0)];
    for (let seq = 1; seq <= 100; seq++) full.add(message(seq, 72), 1_000);
    assert.equal(budget.bytes, 10_000);
    other.add(message(1, 72), 1_000);
    assert.deepEqual([numbersIn(other), other.floor], [[], 1]);
    full.clear(100);
    assert.equal(budget.bytes, 0);
    other.add(message(2, 72), 1_000);
    assert.deepEqual(numbersIn(other), [2]);
  });
});
