import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { LocalBus } from '@pushcluster/runtime/bus/localBus.ts';
import { pino } from 'pino';
import { ExceptionGuard } from './exceptionGuard.ts';
import type { Inlet } from './inlet.ts';
import { InletSubscriber } from './inletSubscriber.ts';

const settled = () => new Promise<void>((resolve) => setImmediate(() => setImmediate(resolve)));

/** An inlet that fails at a message of 13. */
class NotingInlet implements Inlet {
  readonly events: (number | string)[] = [];

  accept(bytes: Uint8Array): void {
    const [number = 0] = bytes;
    if (number === 13) throw new Error('thirteen');
    this.events.push(number);
  }

  subscribed(): void {
    this.events.push('subscribed');
  }

  close(): void {
    this.events.push('closed');
  }
}

let bus: LocalBus;
let errors: string[];
let subscriber: InletSubscriber;
let changes: ((inForce: boolean) => void)[];

beforeEach(() => {
  bus = new LocalBus();
  errors = [];
  changes = [];
  const subscribe = bus.subscribe.bind(bus);
  bus.subscribe = (subject: string, handler: Parameters<LocalBus['subscribe']>[1]) => {
    if (typeof handler !== 'function') changes.push((inForce) => handler.changed(inForce));
    return subscribe(subject, handler);
  };
  subscriber = new InletSubscriber(bus, new ExceptionGuard(pino({ level: 'silent' }), (place) => errors.push(place)));
});

describe('an inlet on the bus', () => {
  it('gets the messages of its subject, and an error costs one of them', async () => {
    const inlet = new NotingInlet();
    await subscriber.subscribe('s', 'of', { inlet: () => inlet }).ready;
    for (const number of [1, 13, 2]) bus.publish('s', Uint8Array.of(number));
    bus.publish('other', Uint8Array.of(3));
    await settled();
    assert.deepEqual(inlet.events, ['subscribed', 1, 2]);
    assert.deepEqual(errors, ['bus']);
  });

  it('learns of its subscription before whoever made it, and of nothing after its end', async () => {
    const inlet = new NotingInlet();
    const subscription = subscriber.subscribe('s', 'of', {
      inlet: () => inlet,
      changed: (inForce, of) => inlet.events.push(`${inForce} ${of}`),
    });
    await subscription.ready;
    changes[0]!(false);
    changes[0]!(true);
    subscription.unsubscribe();
    changes[0]!(true);
    bus.publish('s', Uint8Array.of(1));
    await settled();
    assert.deepEqual(inlet.events, ['subscribed', 'true of', 'false of', 'subscribed', 'true of', 'closed']);
  });

  it('that ends before its subscription is in force learns of no subscription', async () => {
    const inlet = new NotingInlet();
    const subscription = subscriber.subscribe('s', 'of', { inlet: () => inlet });
    subscription.unsubscribe();
    await subscription.ready;
    assert.deepEqual(inlet.events, ['closed']);
  });

  it('that another one replaces gets nothing more, and the other one learns that it is subscribed', async () => {
    const inlets = [new NotingInlet(), new NotingInlet(), new NotingInlet()];
    const [first, second, third] = inlets;
    const subscription = subscriber.subscribe('s', 'of', { inlet: () => inlets.shift()! });
    subscription.renew();
    await subscription.ready;
    bus.publish('s', Uint8Array.of(1));
    await settled();
    subscription.renew();
    bus.publish('s', Uint8Array.of(2));
    await settled();
    subscription.unsubscribe();
    assert.deepEqual(
      [first, second, third].map((inlet) => inlet!.events),
      [['closed'], ['subscribed', 1, 'closed'], ['subscribed', 2, 'closed']],
    );
  });

  it('gets no push that was stored for another room, and one of its own', async () => {
    const room = new NotingInlet();
    const all = new NotingInlet();
    const heard: number[] = [];
    await subscriber.subscribe('p.out.room.all', 'of', { inlet: () => room }).ready;
    await subscriber.subscribe('p.out.all', 'of', { inlet: () => all }).ready;
    await subscriber.listen('p.ctl.cmd', ([number = 0]) => heard.push(number)).ready;
    const stored = { 'Nats-Stream': 'p_H_0123abcd', 'Nats-Subject': 'p.hist.0123abcd.all' };
    for (const subject of ['p.out.room.all', 'p.out.all', 'p.ctl.cmd']) bus.publish(subject, Uint8Array.of(1), stored);
    bus.publish('p.out.room.all', Uint8Array.of(2), { ...stored, 'Nats-Subject': 'p.hist.0123abcd.other' });
    await settled();
    assert.deepEqual([room.events, all.events, heard], [['subscribed', 1], ['subscribed'], []]);
    assert.equal(errors.length, 3);
  });
});
