import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Connection } from './connection.ts';
import { type Delivery, Handover } from './handover.ts';

/** A hand-over whose connections are the test's, and a clock that it sets. */
function handover() {
  const clock = { now: 100 };
  const delivered: unknown[] = [];
  let served = 0;
  const made = new Handover(
    (frame) => delivered.push(frame.type === 'PUSH' ? frame.data.items[0] : frame.type),
    () => served++,
  );
  const connection = () => ({ now: () => clock.now }) as Connection;
  const [old, next] = [connection(), connection()];
  made.add(old);
  made.add(next);
  return { made, old, next, clock, delivered, served: () => served };
}

const push = (...items: unknown[]): Delivery => ({ type: 'PUSH', data: { items } });
const lagged = (reason: 'slow' | 'overload'): Delivery => ({ type: 'LAGGED', data: { dropped: 1, reason } });

test('frames of the first connection are delivered, and those of the next are held until it is removed', () => {
  const { made, old, next, delivered } = handover();
  assert.equal(made.receive(old, push('old 1')), 0);
  assert.equal(made.receive(next, push('next 1', 'more')), 2);
  made.receive(old, push('old 2'));
  assert.deepEqual(delivered, ['old 1', 'old 2']);
  made.remove(old);
  made.receive(next, push('next 2'));
  assert.deepEqual(delivered, ['old 1', 'old 2', 'next 1', 'next 2']);
  made.receive(old, push('old 3'));
  assert.equal(delivered.length, 4, 'a connection that was removed brings nothing');
});

test('a next connection that is removed takes what it brought with it', () => {
  const { made, old, next, delivered } = handover();
  made.receive(next, push('next 1'));
  made.remove(next);
  made.remove(old);
  assert.deepEqual(delivered, []);
});

test('it is told when the connection that serves is ready, and not when another one is', () => {
  const { made, old, next, served } = handover();
  made.setReady(next, true);
  assert.equal(served(), 0);
  made.setReady(old, true);
  assert.equal(served(), 1);
  made.setReady(old, false);
  made.remove(old);
  assert.equal(served(), 2, 'the next one was ready before it served');
});

test('a loss that the next connection tells makes it ready anew from then on, except what a policy dropped', () => {
  const { made, next, clock } = handover();
  assert.equal(made.readyAt(next), Number.POSITIVE_INFINITY);
  made.receive(next, lagged('slow'));
  assert.equal(made.readyAt(next), Number.POSITIVE_INFINITY, 'it was not ready before');
  made.setReady(next, true);
  clock.now = 200;
  made.receive(next, lagged('overload'));
  assert.equal(made.readyAt(next), 100);
  made.receive(next, lagged('slow'));
  assert.equal(made.readyAt(next), 200);
});

test('a hand-over that is released delivers nothing and refers to no connection', () => {
  const { made, old, next, delivered } = handover();
  made.receive(next, push('next 1'));
  made.release();
  made.remove(old);
  made.receive(next, push('next 2'));
  assert.deepEqual(delivered, []);
  assert.deepEqual(made.connections, []);
});

test('held frames can be counted, kept by choice, and dropped oldest first', () => {
  const { made, old, next, clock, delivered } = handover();
  assert.equal(made.heldSince(next), Number.POSITIVE_INFINITY);
  made.receive(next, push(1, 2, 3));
  clock.now = 150;
  made.receive(next, lagged('slow'));
  made.receive(next, push());
  made.receive(next, push(4));
  assert.equal(made.heldSince(next), 100);
  assert.equal(
    made.keep(next, ({ type }) => type === 'PUSH'),
    3 + 1 + 1,
  );
  assert.equal(made.dropOldest(next), 3);
  assert.equal(made.heldSince(next), 150);
  made.remove(old);
  assert.deepEqual(delivered, [undefined, 4]);
  assert.equal(made.heldSince(next), Number.POSITIVE_INFINITY);
});
