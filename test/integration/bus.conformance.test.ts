import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { type Bus, type BusEvent, BusUnavailable } from '@pushcluster/runtime/bus/bus.ts';
import { LocalBus } from '@pushcluster/runtime/bus/localBus.ts';
import { NatsBus } from '@pushcluster/runtime/bus/natsBus.ts';
import { type LogLine, logLines } from '../harness/logLines.ts';
import { type NatsServer, startNatsServer } from '../harness/natsServer.ts';
import { PATIENCE_MS, until } from '../harness/until.ts';

/** Two ends of one bus: in one process they are the same. */
type Ends = { publisher: Bus; subscriber: Bus; lines: LogLine[] };

let server: NatsServer;
const kinds: Record<string, () => Promise<Ends>> = {
  async 'in-process'() {
    const { log, lines } = logLines();
    const bus = new LocalBus(log);
    return { publisher: bus, subscriber: bus, lines };
  },
  async NATS() {
    const { log, lines } = logLines();
    const open = async (name: string) => {
      const bus = new NatsBus(
        { servers: [server.url], pingInterval: PATIENCE_MS },
        { log, name, receiptTimeout: PATIENCE_MS },
      );
      await until(`${name} is connected`, () => bus.connected);
      return bus;
    };
    return { publisher: await open('publisher'), subscriber: await open('subscriber'), lines };
  },
};

before(async () => {
  server = await startNatsServer();
});
after(() => server.stop());

const bytesOf = (text: string) => new TextEncoder().encode(text);
const textOf = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

for (const [kind, open] of Object.entries(kinds)) {
  describe(`the ${kind} bus`, () => {
    let ends: Ends;
    const test = (name: string, body: (ends: Ends) => Promise<void>) =>
      it(name, async () => {
        ends = await open();
        try {
          await body(ends);
        } finally {
          await ends.publisher.close();
          await ends.subscriber.close();
        }
      });

    test('delivers what is published after ready, in order', async ({ publisher, subscriber }) => {
      const got: string[] = [];
      await subscriber.subscribe('order', (bytes) => got.push(textOf(bytes))).ready;
      const sent = Array.from({ length: 5_000 }, (_, i) => `${i}`);
      for (const text of sent) publisher.publish('order', bytesOf(text));
      await until('all arrived', () => got.length >= sent.length);
      assert.deepEqual(got, sent);
    });

    test('never delivers within the call of publish', async ({ publisher, subscriber }) => {
      let got = 0;
      await subscriber.subscribe('later', () => got++).ready;
      publisher.publish('later', bytesOf('x'));
      assert.equal(got, 0);
      await until('it arrived', () => got === 1);
    });

    test('delivers to every subscriber of a subject and to none of another', async ({ publisher, subscriber }) => {
      const got: string[] = [];
      const subscriptions = [
        subscriber.subscribe('fan.out', () => got.push('first')),
        subscriber.subscribe('fan.out', () => got.push('second')),
        subscriber.subscribe('fan.in', () => got.push('other')),
      ];
      await Promise.all(subscriptions.map(({ ready }) => ready));
      publisher.publish('fan.out', bytesOf('x'));
      await until('both got it', () => got.length >= 2);
      await publisher.flush();
      await subscriber.flush();
      assert.deepEqual(got.sort(), ['first', 'second']);
    });

    test('matches * with exactly one token and tells the subject', async ({ publisher, subscriber }) => {
      const got: string[] = [];
      await subscriber.subscribe('w.*.end', (_, subject) => got.push(subject)).ready;
      await subscriber.subscribe('w.done', (_, subject) => got.push(subject)).ready;
      for (const subject of ['w.a.end', 'w.end', 'w.a.b.end', 'w.a.other', 'w.=41.end', 'w.done'])
        publisher.publish(subject, bytesOf('x'));
      await until('the last arrived', () => got.includes('w.done'));
      assert.deepEqual(got, ['w.a.end', 'w.=41.end', 'w.done']);
    });

    test('carries bytes unchanged, from none to a full message', async ({ publisher, subscriber }) => {
      const got: Uint8Array[] = [];
      await subscriber.subscribe('bytes', (bytes) => got.push(bytes)).ready;
      const every = Uint8Array.from({ length: 256 }, (_, i) => i);
      const full = Uint8Array.from({ length: publisher.maxPayload }, (_, i) => (i * 31 + (i >> 8)) & 0xff);
      const sent = [
        new Uint8Array(0),
        every,
        bytesOf('MSG bytes 1 3\r\nabc\r\n"\\u00e9😀"'),
        full,
        every.subarray(3, 7),
      ];
      for (const bytes of sent) publisher.publish('bytes', bytes);
      await until('all arrived', () => got.length === sent.length);
      assert.deepEqual(
        got.map((bytes) => Buffer.from(bytes).toString('base64')),
        sent.map((bytes) => Buffer.from(bytes).toString('base64')),
      );
    });

    test('carries headers beside the bytes, and none where none were published', async ({ publisher, subscriber }) => {
      const got: (string | undefined)[][] = [];
      await subscriber.subscribe('headers.*', (bytes, subject, { headers }) => {
        const read = (name: string) => (headers?.has(name) ? headers.get(name) : undefined);
        got.push([textOf(bytes), subject, read('Seq'), read('seq'), read('Name'), headers?.get('Absent')]);
      }).ready;
      publisher.publish('headers.a', bytesOf('x'), { Seq: '7', Name: 'd\u00e9j\u00e0: vu' });
      publisher.publish('headers.b', bytesOf('y'));
      publisher.publish('headers.c', new Uint8Array(0), { Seq: '' });
      await until('all arrived', () => got.length === 3);
      assert.deepEqual(got, [
        ['x', 'headers.a', '7', undefined, 'd\u00e9j\u00e0: vu', ''],
        ['y', 'headers.b', undefined, undefined, undefined, undefined],
        ['', 'headers.c', '', undefined, undefined, ''],
      ]);
    });

    test('refuses headers that can not be sent as they are, and those over its limit', async ({ publisher }) => {
      for (const headers of [{ 'a b': 'x' }, { 'a:': 'x' }, { '': 'x' }, { a: 'x\r\nb: y' }, { a: ' x' }])
        assert.throws(() => publisher.publish('headers', bytesOf('x'), headers), TypeError);
      const full = new Uint8Array(publisher.maxPayload - 17);
      publisher.publish('headers', full, { a: '' });
      assert.throws(() => publisher.publish('headers', full, { a: 'x' }), RangeError);
      await publisher.flush();
    });

    test('keeps received bytes valid while more arrive', async ({ publisher, subscriber }) => {
      const got: Uint8Array[] = [];
      await subscriber.subscribe('keep', (bytes) => got.push(bytes)).ready;
      for (let i = 0; i < 500; i++) publisher.publish('keep', new Uint8Array(700 + i).fill(i & 0xff));
      await until('all arrived', () => got.length === 500);
      got.forEach((bytes, i) => {
        assert.equal(bytes.length, 700 + i);
        assert.ok(bytes.every((byte) => byte === (i & 0xff)));
      });
    });

    test('refuses a message over its limit, and carries the next', async ({ publisher, subscriber }) => {
      const got: Uint8Array[] = [];
      await subscriber.subscribe('limit', (bytes) => got.push(bytes)).ready;
      assert.equal(publisher.maxPayload, 1_048_576);
      assert.throws(() => publisher.publish('limit', new Uint8Array(publisher.maxPayload + 1)), RangeError);
      publisher.publish('limit', bytesOf('small'));
      await until('it arrived', () => got.length > 0);
      assert.deepEqual(got.map(textOf), ['small']);
    });

    test('refuses what is no subject', async ({ publisher }) => {
      for (const subject of ['', 'a b', 'a\r\nPUB b 0']) {
        assert.throws(() => publisher.publish(subject, bytesOf('x')), TypeError);
        assert.throws(() => publisher.subscribe(subject, () => {}), TypeError);
      }
    });

    test('gives a receipt for each flush, many at once and one after another', async ({ publisher, subscriber }) => {
      let got = 0;
      await subscriber.subscribe('receipt', () => got++).ready;
      await publisher.flush();
      const receipts = Array.from({ length: 1_000 }, async () => {
        publisher.publish('receipt', bytesOf('x'));
        await publisher.flush();
      });
      await Promise.all(receipts);
      await until('all arrived', () => got === 1_000);
      for (let i = 0; i < 20; i++) {
        publisher.publish('receipt', bytesOf('x'));
        await publisher.flush();
      }
      await until('all arrived', () => got === 1_020);
    });

    test('delivers nothing after unsubscribe, also within one burst', async ({ publisher, subscriber }) => {
      const got: string[] = [];
      const subscription = subscriber.subscribe('quit', (bytes) => {
        got.push(textOf(bytes));
        if (got.length === 3) subscription.unsubscribe();
      });
      let others = 0;
      await subscriber.subscribe('quit', () => others++).ready;
      await subscription.ready;
      for (let i = 0; i < 10; i++) publisher.publish('quit', bytesOf(`${i}`));
      await until('the other has all', () => others === 10);
      assert.deepEqual(got, ['0', '1', '2']);
      subscription.unsubscribe();
    });

    test('delivers only what was published after subscribe', async ({ publisher }) => {
      const got: string[] = [];
      publisher.publish('since', bytesOf('before'));
      await publisher.subscribe('since', (bytes) => got.push(textOf(bytes))).ready;
      publisher.publish('since', bytesOf('after'));
      await until('it arrived', () => got.includes('after'));
      assert.deepEqual(got, ['after']);
    });

    test('makes a subscription ready that ended at once', async ({ subscriber }) => {
      const subscription = subscriber.subscribe('short', () => {});
      subscription.unsubscribe();
      await subscription.ready;
    });

    test('holds ten thousand subscriptions', async ({ publisher, subscriber }) => {
      const got = new Set<string>();
      const subscriptions = Array.from({ length: 10_000 }, (_, i) =>
        subscriber.subscribe(`many.${i}`, (_bytes, subject) => got.add(subject)),
      );
      await Promise.all(subscriptions.map(({ ready }) => ready));
      for (let i = 0; i < 10_000; i++) publisher.publish(`many.${i}`, bytesOf('x'));
      await until('all arrived', () => got.size === 10_000);
      for (const subscription of subscriptions) subscription.unsubscribe();
    });

    test('logs a handler that throws, and goes on', async ({ publisher, subscriber, lines }) => {
      const got: string[] = [];
      await subscriber.subscribe('throw', (bytes) => {
        got.push(textOf(bytes));
        if (got.length === 1) throw new Error('a broken handler');
      }).ready;
      publisher.publish('throw', bytesOf('first'));
      publisher.publish('throw', bytesOf('second'));
      await until('both arrived', () => got.length === 2);
      assert.ok(lines.some((line) => JSON.stringify(line).includes('a broken handler') && line.subject === 'throw'));
    });

    test('lets a handler publish and subscribe', async ({ publisher, subscriber }) => {
      const got: string[] = [];
      await subscriber.subscribe('ask', () => {
        const answers = subscriber.subscribe('answer', (bytes) => got.push(textOf(bytes)));
        void answers.ready.then(() => subscriber.publish('answer', bytesOf('yes')));
      }).ready;
      publisher.publish('ask', bytesOf('?'));
      await until('the answer arrived', () => got.length === 1);
    });

    test('sends what was published before close, and nothing later', async ({ publisher, subscriber }) => {
      const got: string[] = [];
      await subscriber.subscribe('close', (bytes) => got.push(textOf(bytes))).ready;
      const events: BusEvent[] = [];
      publisher.onEvent((event) => events.push(event));
      for (let i = 0; i < 100; i++) publisher.publish('close', bytesOf(`${i}`));
      const closed = publisher.close();
      assert.equal(publisher.connected, false);
      assert.throws(() => publisher.publish('close', bytesOf('late')), BusUnavailable);
      await closed;
      await publisher.close();
      assert.throws(() => publisher.publish('close', bytesOf('later')), BusUnavailable);
      await assert.rejects(publisher.flush(), { name: 'BusUnconfirmed' });
      await until('all arrived', () => got.length === 100);
      assert.deepEqual(events, [{ type: 'disconnected', reason: 'closed' }]);
      await publisher.subscribe('close', () => {}).ready;
    });

    test('calls no listener any more that has stopped listening', async ({ publisher }) => {
      const events: BusEvent[] = [];
      publisher.onEvent((event) => events.push(event))();
      await publisher.close();
      assert.deepEqual(events, []);
    });
  });
}
