import assert from 'node:assert/strict';
import { it } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { BusOverloaded } from './bus.ts';
import { FakeNatsConnection } from './fakeNatsConnection.ts';

it('a connection counts headers into the bytes that may be unconfirmed', (t) => {
  const server = new FakeNatsConnection();
  t.after(() => server.bus.end('the test is over'));
  server.hold();
  const headers = { a: 'x'.repeat(1_048_576 - 17) };
  let taken = 0;
  assert.throws(() => {
    for (; taken < 200; taken++) server.bus.publish('push', new Uint8Array(0), headers);
  }, BusOverloaded);
  assert.equal(taken, 64);
});

it('a connection sends all messages of a turn of the event loop together, and one PING behind them', async (t) => {
  const server = new FakeNatsConnection();
  t.after(() => server.bus.end('the test is over'));
  server.hold();
  const receipts: Promise<void>[] = [];
  for (const subject of ['a', 'b', 'c']) {
    server.bus.publish(subject, new Uint8Array(0));
    receipts.push(server.bus.receipts.confirmed());
  }
  assert.deepEqual(server.sent, []);
  await setImmediate();
  assert.deepEqual(server.sent, ['a', 'b', 'c', 'PING']);
  // The PONG has not come: the next message does not wait for it, and neither does its PING.
  server.bus.publish('d', new Uint8Array(0));
  receipts.push(server.bus.receipts.confirmed());
  await setImmediate();
  assert.deepEqual(server.sent.slice(4), ['d', 'PING']);
  server.answer();
  await Promise.all(receipts);
});
