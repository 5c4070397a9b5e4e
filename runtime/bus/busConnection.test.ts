import assert from 'node:assert/strict';
import { it } from 'node:test';
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
