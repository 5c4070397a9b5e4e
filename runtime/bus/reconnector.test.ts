import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { until } from '@pushcluster/test/harness/until.ts';
import { pino } from 'pino';
import type { BusEvent } from './bus.ts';
import { parseServer, type RawConnection } from './dial.ts';
import { FakeNatsConnection } from './fakeNatsConnection.ts';
import { NatsSubscription } from './natsSubscription.ts';
import { ProblemLog } from './problemLog.ts';
import { Reconnector } from './reconnector.ts';

const SERVERS = ['a', 'b', 'c'].map((host) => parseServer(`nats://${host}`));

/** A Reconnector whose attempts end as `answers` say, in this order, and then never end. */
function fixture(t: TestContext, answers: (FakeNatsConnection | Error)[]) {
  const [dialled, events, logged]: [string[], BusEvent[], string[]] = [[], [], []];
  // No wait between two attempts.
  t.mock.method(Math, 'random', () => 0);
  const stop = new AbortController();
  const subscriptions = new Set<NatsSubscription>();
  const log = pino({ level: 'warn' }, { write: (line: string) => void logged.push(JSON.parse(line).reason) });
  const reconnector = new Reconnector({
    servers: SERVERS,
    dial: ({ host }) => {
      dialled.push(host);
      const answer = answers.shift();
      if (answer instanceof Error) return Promise.reject(answer);
      return answer ? Promise.resolve(answer.raw) : new Promise<RawConnection>(() => {});
    },
    receiptTimeout: 60_000,
    subscriptions,
    onEvent: (event) => events.push(event),
    signal: stop.signal,
    log,
    problems: new ProblemLog(),
  });
  t.after(() => stop.abort());
  return { reconnector, dialled, events, logged, stop, subscriptions };
}

/** Lets everything happen that waits for nothing but a turn of the event loop. */
async function turns(): Promise<void> {
  for (let turn = 0; turn < 10; turn++) await setImmediate();
}

describe('a reconnector', () => {
  it('dials one server after the other until one answers, and logs each problem once', async (t) => {
    const refused = new Error('refused');
    const { reconnector, dialled, events, logged } = fixture(t, [refused, refused, refused, new FakeNatsConnection()]);
    assert.equal(reconnector.connected, false);
    await until('it is connected', () => reconnector.connected);
    assert.deepEqual(dialled, ['a', 'b', 'c', 'a']);
    assert.deepEqual(logged, ['refused']);
    assert.deepEqual(events, [{ type: 'connected', reconnects: 0 }]);
  });

  it('gives a connection all subscriptions, and is connected once its server knows of them', async (t) => {
    const [first, second] = [new FakeNatsConnection(), new FakeNatsConnection(2_000)];
    const { reconnector, dialled, events, subscriptions } = fixture(t, [first, second]);
    subscriptions.add(
      new NatsSubscription('room', () => {}, {
        refused: () => assert.fail('nothing is refused'),
        inForce: () => {},
        ended: () => {},
        overlap: () => undefined,
        failed: (error) => assert.fail(String(error)),
      }),
    );
    await until('it is connected', () => reconnector.connected);
    assert.deepEqual(first.subjects, ['room']);
    second.hold();
    first.lose();
    await until('the second server has the subscription', () => second.subjects.length === 1);
    assert.equal(reconnector.connected, false);
    assert.equal(events.at(-1)?.type, 'disconnected');
    second.answer();
    await until('it is connected again', () => reconnector.connected);
    assert.deepEqual(events.at(-1), { type: 'connected', reconnects: 1 });
    assert.deepEqual(dialled, ['a', 'b']);
    second.lose();
    await until('a third server is dialled', () => dialled.length === 3);
    assert.equal(reconnector.maxPayload, 2_000, 'that of the last server, while there is none');
  });

  it('replaces a server that is leaving, however its notice meets the takeover before it or the subscribing', async (t) => {
    for (const when of ['during the takeover', 'while it subscribes'] as const) {
      const [first, second, third] = [new FakeNatsConnection(), new FakeNatsConnection(), new FakeNatsConnection()];
      const { reconnector, dialled, events } = fixture(t, [first, second, third]);
      if (when === 'while it subscribes') first.hold();
      await until('the first is dialled', () => reconnector.connection !== undefined);
      if (when === 'while it subscribes') {
        first.leave();
        await turns();
        first.answer();
      } else {
        await until('it is connected', () => reconnector.connected);
        first.leave();
        await until('both receive', () => reconnector.takeover?.overlap !== undefined);
        second.leave();
      }
      const last = when === 'while it subscribes' ? 2 : 3;
      await until('the last has taken over', () => dialled.length === last && !reconnector.takingOver);
      assert.deepEqual(events, [{ type: 'connected', reconnects: 0 }], when);
      assert.equal(reconnector.connected, true);
    }
  });

  it('dials nobody once it is stopped, and has stopped when its connection has ended', async (t) => {
    const connection = new FakeNatsConnection();
    const { reconnector, dialled, logged, stop } = fixture(t, [connection]);
    await until('it is connected', () => reconnector.connected);
    stop.abort();
    assert.equal(reconnector.connected, false);
    connection.lose();
    await reconnector.stopped;
    assert.deepEqual([dialled, logged], [['a'], []]);
  });
});
