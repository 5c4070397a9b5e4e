import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { BusOverloaded } from './bus.ts';
import { FakeNatsConnection } from './fakeNatsConnection.ts';
import { NatsSubscription } from './natsSubscription.ts';
import { Takeover } from './takeover.ts';

/** Lets everything happen that waits for nothing but a turn of the event loop. */
async function turns(): Promise<void> {
  for (let turn = 0; turn < 10; turn++) await setImmediate();
}

/** A takeover whose pauses are over at once: it waits for the answers of the two servers only. */
function fixture(t: TestContext, { maxPayload }: { maxPayload?: number } = {}) {
  const [old, next] = [new FakeNatsConnection(), new FakeNatsConnection(maxPayload)];
  t.after(() => [old, next].map(({ bus }) => bus.end('the test is over')));
  const subscriptions = new Set<NatsSubscription>();
  const takeover = new Takeover(old.bus, next.bus, subscriptions, AbortSignal.abort());
  const got: string[] = [];
  const subscribe = (subject: string) => {
    const subscription = new NatsSubscription(subject, (bytes) => got.push(`${subject} ${bytes}`), {
      refused: () => assert.fail('nothing is refused'),
      inForce: () => {},
      ended: () => subscriptions.delete(subscription),
      overlap: () => takeover.overlap,
      failed: (error) => assert.fail(String(error)),
    });
    subscriptions.add(subscription);
    takeover.attach(subscription);
    return subscription;
  };
  return { old, next, takeover, subscriptions, subscribe, got };
}

describe('a takeover of one connection from another', () => {
  it('has every subscription on the next connection, and only there, whenever it was made', async (t) => {
    const { old, next, takeover, subscriptions, subscribe, got } = fixture(t);
    subscribe('before');
    next.hold();
    const received = takeover.receive();
    subscribe('while both receive');
    await turns();
    assert.deepEqual(old.subjects, ['before', 'while both receive']);
    assert.deepEqual(next.subjects, ['before', 'while both receive']);
    assert.ok(takeover.overlap, 'the next server has not answered');

    old.hold();
    next.answer();
    await turns();
    assert.deepEqual(old.subjects, []);
    assert.ok(takeover.overlap, 'the old server has not answered');
    subscribe('after the choice');
    await turns();
    next.deliver('after the choice', 'held');
    assert.deepEqual(got, []);
    old.answer();
    assert.equal(await received, true);
    assert.equal(got.length, 1);

    old.hold();
    const published = takeover.publish(() => {});
    subscribe('while publishing is on hold');
    old.answer();
    await published;
    await turns();
    const all = ['before', 'while both receive', 'after the choice', 'while publishing is on hold'];
    assert.deepEqual(next.subjects, all);
    assert.deepEqual(old.subjects, []);
    await Promise.all([...subscriptions].map(({ ready }) => ready));
    got.length = 0;
    for (const subject of all) next.deliver(subject, '');
    assert.deepEqual(
      got,
      all.map((subject) => `${subject} `),
    );
    for (const subscription of subscriptions) subscription.unsubscribe();
    await turns();
    assert.deepEqual(next.subjects, []);
  });

  it('ends the old connection too if the next one is lost after it was chosen: nothing would be received', async (t) => {
    const { old, next, takeover, subscribe } = fixture(t);
    subscribe('room');
    await turns();
    old.hold();
    const received = takeover.receive();
    await turns();
    assert.deepEqual(old.subjects, []);
    next.bus.end('lost');
    old.answer();
    assert.equal(await received, false);
    assert.equal(old.bus.alive, false);
  });

  it('counts headers into the bytes that wait until publishing goes on', async (t) => {
    const { old, next, takeover } = fixture(t);
    old.hold();
    const published = takeover.publish(() => {});
    const headers = { a: 'x'.repeat(1_048_576 - 17) };
    let taken = 0;
    assert.throws(() => {
      for (; taken < 200; taken++)
        takeover.hold({ subject: 'push', bytes: new Uint8Array(0), headers, reply: undefined }, 1_048_576);
    }, BusOverloaded);
    assert.equal(taken, 64);
    old.answer();
    await published;
    await turns();
    assert.equal(next.published.length, 64, 'the next connection takes all that was held');
    assert.equal(old.bus.alive, false);
  });

  it('holds no message that is larger than the next server takes', async (t) => {
    const { old, next, takeover } = fixture(t, { maxPayload: 10 });
    old.hold();
    const published = takeover.publish(() => {});
    assert.throws(
      () =>
        takeover.hold({ subject: 'push', bytes: new Uint8Array(11), headers: undefined, reply: undefined }, 1_048_576),
      RangeError,
    );
    takeover.hold({ subject: 'push', bytes: new Uint8Array(10), headers: undefined, reply: undefined }, 1_048_576);
    old.answer();
    await published;
    await turns();
    assert.deepEqual(next.published, ['push']);
  });
});
