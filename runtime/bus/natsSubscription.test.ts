import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { FakeNatsConnection } from './fakeNatsConnection.ts';
import { NatsSubscription } from './natsSubscription.ts';

describe('a subscription of the bus', () => {
  const subscribe = (
    handler: (text: string) => void,
    failed: (error: unknown) => void = (error) => assert.fail(String(error)),
  ) =>
    new NatsSubscription('room', (bytes) => handler(Buffer.from(bytes).toString()), {
      refused: () => assert.fail('nothing is refused'),
      inForce: () => {},
      ended: () => {},
      overlap: () => undefined,
      failed,
    });

  it('delivers what follows an error of its handler, which is reported', async () => {
    const server = new FakeNatsConnection();
    const got: string[] = [];
    const errors: unknown[] = [];
    const subscription = subscribe(
      (text) => {
        if (text === 'bad') throw new Error('it can’t');
        got.push(text);
      },
      (error) => errors.push(error),
    );
    subscription.attach(server.bus);
    await subscription.ready;
    for (const text of ['first', 'bad', 'second']) server.deliver('room', text);
    assert.deepEqual(got, ['first', 'second']);
    assert.equal(errors.length, 1);
    server.bus.end('the test is over');
  });

  it('of a receiver delivers messages to it, and tells it when it is refused', async () => {
    const server = new FakeNatsConnection();
    const got: unknown[] = [];
    const receiver = {
      deliver: (bytes: Uint8Array, subject: string) => got.push(`${subject} ${Buffer.from(bytes)}`),
      changed: (inForce: boolean) => got.push(inForce),
    };
    const subscription = new NatsSubscription('room', receiver, {
      refused: () => {},
      inForce: () => {},
      ended: () => {},
      overlap: () => undefined,
      failed: (error) => assert.fail(String(error)),
    });
    subscription.attach(server.bus);
    await subscription.ready;
    server.deliver('room', 'first');
    subscription.changed(false);
    assert.deepEqual(got, ['room first', false]);
    server.bus.end('the test is over');
  });

  it('is ready for those who ask before it is in force, and for those who ask later', async () => {
    const server = new FakeNatsConnection();
    const subscription = subscribe(() => {});
    const early = subscription.ready;
    subscription.attach(server.bus);
    await early;
    await subscription.ready;
    server.bus.end('the test is over');
  });

  it('gets nothing after its end, and leaves nothing at the server', async () => {
    const server = new FakeNatsConnection();
    const got: string[] = [];
    const subscription = subscribe((text) => got.push(text));
    subscription.attach(server.bus);
    await subscription.ready;
    assert.deepEqual(server.subjects, ['room']);
    subscription.unsubscribe();
    server.deliver('room', 'late');
    await new Promise(setImmediate);
    assert.deepEqual(got, []);
    assert.deepEqual(server.subjects, []);
    server.bus.end('the test is over');
  });

  it('is ready when it ends, although it was never in force', async () => {
    const subscription = subscribe(() => {});
    const { ready } = subscription;
    subscription.unsubscribe();
    await ready;
  });
});
