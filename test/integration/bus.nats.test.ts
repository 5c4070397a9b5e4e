import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import {
  type Bus,
  type BusEvent,
  BusOverloaded,
  BusUnavailable,
  BusUnconfirmed,
} from '@pushcluster/runtime/bus/bus.ts';
import { registerBusMetrics } from '@pushcluster/runtime/bus/busMetrics.ts';
import { NatsBus } from '@pushcluster/runtime/bus/natsBus.ts';
import { Registry } from 'prom-client';
import { Lateness } from '../harness/lateness.ts';
import { logLines } from '../harness/logLines.ts';
import { startNatsCluster, startNatsServer } from '../harness/natsServer.ts';
import { startTcpProxy } from '../harness/tcpProxy.ts';
import { PATIENCE_MS, until } from '../harness/until.ts';

const bytesOf = (text: string) => new TextEncoder().encode(text);
const textOf = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

/**
 * Of a bus that is to notice soon that its server does not answer. Any other gives up none that a busy machine makes
 * slow.
 */
const PING_INTERVAL_MS = 1_000;
const RECEIPT_TIMEOUT_MS = 600;
/** Beside what the machine is late. */
const LEEWAY_MS = 5_000;

function openBus(t: TestContext, servers: string[], options: { receiptTimeout?: number; pingInterval?: number } = {}) {
  const { receiptTimeout = PATIENCE_MS, pingInterval = PATIENCE_MS } = options;
  const { log, lines, has } = logLines();
  const bus = new NatsBus({ servers, pingInterval }, { log, name: t.name, receiptTimeout });
  t.after(() => bus.close());
  const events: BusEvent[] = [];
  bus.onEvent((event) => events.push(event));
  return { bus, events, lines, has };
}

async function connected(bus: Bus): Promise<void> {
  await until('the bus is connected', () => bus.connected);
}

async function collect(bus: Bus, subject: string): Promise<string[]> {
  const got: string[] = [];
  await bus.subscribe(subject, (bytes) => got.push(textOf(bytes))).ready;
  return got;
}

async function milliseconds(what: string, condition: () => boolean): Promise<number> {
  const begun = performance.now();
  await until(what, condition);
  return performance.now() - begun;
}

describe('a NATS bus whose server is killed and comes back', () => {
  it('connects again, has all its subscriptions, and tells both', async (t) => {
    const server = await startNatsServer();
    t.after(() => server.stop());
    const { bus, events, has } = openBus(t, [server.url]);
    const { bus: other } = openBus(t, [server.url]);
    await connected(bus);
    await connected(other);
    const got = await collect(bus, 'news.*');
    const ended = bus.subscribe('news.ended', () => assert.fail('it was unsubscribed'));
    await ended.ready;

    await server.kill();
    await until('both have noticed', () => !bus.connected && !other.connected);
    assert.ok(has('lost the connection to NATS'));
    ended.unsubscribe();
    const meanwhile: string[] = [];
    const late = bus.subscribe('meanwhile', (bytes) => meanwhile.push(textOf(bytes)));
    await server.restart();
    await late.ready;
    await connected(other);
    other.publish('news.ended', bytesOf('1'));
    other.publish('meanwhile', bytesOf('2'));
    await until('both arrived', () => got.length === 1 && meanwhile.length === 1);
    assert.deepEqual(
      events.map((event) => (event.type === 'connected' ? event : event.type)),
      [{ type: 'connected', reconnects: 0 }, 'disconnected', { type: 'connected', reconnects: 1 }],
    );
  });

  it('never delivers what was published while it was away: that was refused', async (t) => {
    const server = await startNatsServer();
    t.after(() => server.stop());
    const { bus } = openBus(t, [server.url]);
    const { bus: other } = openBus(t, [server.url]);
    await connected(bus);
    await connected(other);
    const got = await collect(other, 'push');
    const accepted: string[] = [];
    const refused: string[] = [];
    let stop = false;
    // Publishes through the outage without a pause, and keeps account of every message.
    const publishing = (async () => {
      for (let i = 0; !stop; i++) {
        const text = `${i}`;
        try {
          bus.publish('push', bytesOf(text));
          await bus.flush();
          accepted.push(text);
        } catch (error) {
          if (error instanceof BusUnavailable) refused.push(text);
          else assert.ok(error instanceof BusUnconfirmed, String(error));
        }
        await new Promise((resolve) => setImmediate(resolve));
      }
    })();
    await until('some went through', () => got.length > 100);
    await server.kill();
    await until('both have noticed', () => !bus.connected && !other.connected);
    await until('some were refused', () => refused.length > 100);
    await server.restart();
    await Promise.all([connected(bus), connected(other)]);
    const before = accepted.length;
    await until('some went through again', () => accepted.length > before + 100);
    stop = true;
    await publishing;
    await until('the last arrived', () => got.includes(accepted.at(-1)!));
    const delivered = new Set(got);
    assert.equal(delivered.size, got.length, 'nothing twice');
    assert.deepEqual(
      refused.filter((text) => delivered.has(text)),
      [],
    );
  });

  it('connects whenever the server starts at last, and takes subscriptions meanwhile', async (t) => {
    const server = await startNatsServer();
    t.after(() => server.stop());
    await server.kill();
    const { bus, has } = openBus(t, [server.url]);
    const got: string[] = [];
    const subscription = bus.subscribe('early', (bytes) => got.push(textOf(bytes)));
    await until('it has tried', () => has('connection refused'));
    assert.throws(() => bus.publish('early', bytesOf('lost')), BusUnavailable);
    await assert.rejects(bus.flush(), BusUnconfirmed);
    await server.restart();
    await subscription.ready;
    assert.equal(bus.connected, true);
    bus.publish('early', bytesOf('first'));
    await until('it arrived', () => got.length > 0);
    assert.deepEqual(got, ['first']);
  });

  it('says the same failure once and not at every attempt', async (t) => {
    const server = await startNatsServer();
    await server.stop();
    const proxy = await startTcpProxy(server.port);
    t.after(() => proxy.close());
    let attempts = 0;
    proxy.onConnection = () => attempts++;
    const { lines } = openBus(t, [`nats://127.0.0.1:${proxy.port}`]);
    // A connection that is closed at once may fail in one of several ways, by when that is noticed. Each is a failure
    // of its own.
    const said = () => lines.flatMap(({ msg, reason }) => (msg.includes('cannot connect') ? [reason] : []));
    await until('it has said so', () => said().length > 0);
    const before = attempts;
    await until('it has tried some times more', () => attempts >= before + 4);
    assert.deepEqual(said(), [...new Set(said())]);
    assert.ok(said().length < 4, said().join('\n'));
  });

  it('follows the size that the server takes', async (t) => {
    const server = await startNatsServer({ maxPayload: 2_048 });
    t.after(() => server.stop());
    const { bus } = openBus(t, [server.url]);
    await connected(bus);
    assert.equal(bus.maxPayload, 2_048);
    bus.publish('push', new Uint8Array(2_048));
    assert.throws(() => bus.publish('push', new Uint8Array(2_049)), RangeError);
    await bus.flush();
    await server.kill();
    await until('it has noticed', () => !bus.connected);
    assert.equal(bus.maxPayload, 2_048);
    await server.restart({ maxPayload: 4_096 });
    await connected(bus);
    assert.equal(bus.maxPayload, 4_096);
  });

  it('is counted by its metrics', async (t) => {
    const server = await startNatsServer();
    t.after(() => server.stop());
    const { bus } = openBus(t, [server.url]);
    const registry = new Registry();
    registerBusMetrics(registry, bus);
    const value = async (name: string) =>
      Number(new RegExp(`^${name} (\\d+)`, 'm').exec(await registry.metrics())?.[1] ?? Number.NaN);
    await connected(bus);
    assert.equal(await value('pushcluster_bus_connected'), 1);
    assert.equal(await value('pushcluster_bus_reconnects_total'), 0);
    await server.kill();
    await until('it has noticed', () => !bus.connected);
    assert.equal(await value('pushcluster_bus_connected'), 0);
    await server.restart();
    await connected(bus);
    assert.equal(await value('pushcluster_bus_connected'), 1);
    assert.equal(await value('pushcluster_bus_reconnects_total'), 1);
  });

  it('closes at once while it tries to connect', async (t) => {
    const server = await startNatsServer();
    t.after(() => server.stop());
    await server.pause();
    const { bus } = openBus(t, [server.url]);
    const lateness = Lateness.during(t);
    const begun = performance.now();
    await bus.close();
    // An attempt would be given up after 3 s.
    assert.ok(performance.now() - begun < 2_500 + lateness.total);
    server.resume();
  });
});

describe('a NATS bus whose network is cut', () => {
  async function behindProxy(t: TestContext, options: { receiptTimeout?: number; pingInterval?: number } = {}) {
    const server = await startNatsServer();
    const proxy = await startTcpProxy(server.port);
    const far = openBus(t, [`nats://127.0.0.1:${proxy.port}`], options);
    const near = openBus(t, [server.url]);
    t.after(async () => {
      await Promise.all([far.bus.close(), near.bus.close()]);
      await proxy.close();
      await server.stop();
    });
    await connected(far.bus);
    await connected(near.bus);
    return { proxy, far, near };
  }

  it('notices without traffic after two to three pings', async (t) => {
    const { proxy, far } = await behindProxy(t, { pingInterval: PING_INTERVAL_MS });
    proxy.cut();
    const lateness = Lateness.during(t);
    const noticed = await milliseconds('it has noticed', () => !far.bus.connected);
    assert.ok(noticed < 3 * PING_INTERVAL_MS + LEEWAY_MS + lateness.total, `noticed after ${noticed} ms`);
    await proxy.heal();
    await connected(far.bus);
  });

  it('notices by the first receipt that does not come', async (t) => {
    const { proxy, far } = await behindProxy(t, { receiptTimeout: 200 });
    proxy.cut();
    far.bus.publish('push', bytesOf('x'));
    const lateness = Lateness.during(t);
    const begun = performance.now();
    await assert.rejects(far.bus.flush(), BusUnconfirmed);
    assert.ok(performance.now() - begun < 200 + LEEWAY_MS + lateness.total);
    assert.equal(far.bus.connected, false);
    assert.throws(() => far.bus.publish('push', bytesOf('y')), BusUnavailable);
    await proxy.heal();
    await connected(far.bus);
  });

  it('sends nothing of the time of the cut when the network heals', async (t) => {
    const { proxy, far, near } = await behindProxy(t, { receiptTimeout: RECEIPT_TIMEOUT_MS });
    const got = await collect(near.bus, 'push');
    proxy.cut();
    // More than kernel and proxy buffers hold: part of it still waits in our own process.
    const big = bytesOf('during '.repeat(100_000));
    for (let i = 0; i < 24; i++) far.bus.publish('push', big);
    await assert.rejects(far.bus.flush(), BusUnconfirmed);
    await proxy.heal();
    await until('what is published again arrives', () => {
      if (far.bus.connected) far.bus.publish('push', bytesOf('after'));
      return got.includes('after');
    });
    assert.deepEqual(new Set(got.map((text) => text.slice(0, 6))), new Set(['after']));
  });

  it('connects again as soon as the network heals, with its subscriptions', async (t) => {
    const { proxy, far, near } = await behindProxy(t, { pingInterval: PING_INTERVAL_MS });
    const got = await collect(far.bus, 'news');
    proxy.cut();
    await until('it has noticed', () => !far.bus.connected);
    near.bus.publish('news', bytesOf('missed'));
    await near.bus.flush();
    await proxy.heal();
    await connected(far.bus);
    // It may lose the connection once more, on a busy machine.
    await until('it hears', () => {
      near.bus.publish('news', bytesOf('heard'));
      return got.includes('heard');
    });
    assert.deepEqual(new Set(got), new Set(['heard']));
  });

  it('survives a connection that breaks in the midst of traffic', async (t) => {
    const { proxy, far, near } = await behindProxy(t);
    const got = await collect(near.bus, 'push');
    const losses = () => far.events.filter(({ type }) => type === 'disconnected').length;
    for (let round = 0; round < 5; round++) {
      for (let i = 0; i < 200; i++) far.bus.publish('push', bytesOf(`${round}.${i}`));
      const receipt = far.bus.flush();
      proxy.reset();
      await receipt.catch((error: unknown) => assert.ok(error instanceof BusUnconfirmed));
      // It may be connected again by the next look.
      await until('the broken one is noticed', () => losses() > round);
      await connected(far.bus);
    }
    far.bus.publish('push', bytesOf('end'));
    await until('the last arrived', () => got.includes('end'));
    // What arrived of a broken burst is its beginning, in order.
    for (let round = 0; round < 5; round++) {
      const burst = got.filter((text) => text.startsWith(`${round}.`));
      assert.deepEqual(
        burst,
        burst.map((_, i) => `${round}.${i}`),
      );
    }
  });

  it('leaves no sockets behind, however often an attempt fails', async (t) => {
    const { proxy, far } = await behindProxy(t, { pingInterval: PING_INTERVAL_MS });
    let attempts = 0;
    proxy.onConnection = () => attempts++;
    proxy.cut();
    await until('it has tried again', () => attempts >= 2);
    await proxy.heal();
    await connected(far.bus);
    await until('only its connection is left', () => proxy.connections === 1);
  });
});

describe('a NATS bus whose server hangs', () => {
  it('rejects the receipts within their time, and comes back', async (t) => {
    const server = await startNatsServer();
    t.after(() => server.stop());
    const { bus, has } = openBus(t, [server.url], { receiptTimeout: RECEIPT_TIMEOUT_MS });
    await connected(bus);
    await server.pause();
    const lateness = Lateness.during(t);
    const begun = performance.now();
    bus.publish('push', bytesOf('x'));
    const receipts = Array.from({ length: 50 }, () => bus.flush());
    for (const { status, reason } of (await Promise.allSettled(receipts)) as PromiseRejectedResult[]) {
      assert.equal(status, 'rejected');
      assert.ok(reason instanceof BusUnconfirmed);
    }
    const took = performance.now() - begun;
    assert.ok(took < RECEIPT_TIMEOUT_MS + LEEWAY_MS + lateness.total, `${took} ms`);
    assert.ok(has('no receipt from the server'));
    assert.throws(() => bus.publish('push', bytesOf('y')), BusUnavailable);
    server.resume();
    await until('it gives receipts again', async () => {
      await connected(bus);
      try {
        bus.publish('push', bytesOf('z'));
        await bus.flush();
        return true;
      } catch {
        return false;
      }
    });
  });

  it('keeps publishing where nobody asks for receipts', async (t) => {
    const server = await startNatsServer();
    t.after(() => server.stop());
    const { bus } = openBus(t, [server.url]);
    const { bus: other } = openBus(t, [server.url]);
    await Promise.all([connected(bus), connected(other)]);
    let got = 0;
    await other.subscribe('push', () => got++).ready;
    // Several times what may be unconfirmed.
    const message = new Uint8Array(100_000);
    for (let i = 0; i < 1_000; i++) {
      bus.publish('push', message);
      if (i % 50 === 49) await until('these arrived', () => got === i + 1);
    }
  });

  it('takes no more than it can hold', async (t) => {
    const server = await startNatsServer();
    t.after(() => server.stop());
    const { bus } = openBus(t, [server.url]);
    await connected(bus);
    await server.pause();
    const full = new Uint8Array(bus.maxPayload);
    let taken = 0;
    assert.throws(() => {
      for (; taken < 200; taken++) bus.publish('push', full);
    }, BusOverloaded);
    // 64 MiB, and the message that goes beyond.
    assert.equal(taken, 64);
    assert.ok(bus.connected);
    server.resume();
    await bus.flush();
    bus.publish('push', full);
    await bus.flush();
  });
});

describe('a NATS bus on a cluster of three', () => {
  it('goes on over the other two when one is killed', async (t) => {
    const cluster = await startNatsCluster(3);
    t.after(() => cluster.stop());
    const publisher = openBus(t, cluster.urls);
    const subscribers = Array.from({ length: 6 }, () => openBus(t, cluster.urls));
    await Promise.all([publisher, ...subscribers].map(({ bus }) => connected(bus)));
    const got = await Promise.all(subscribers.map(({ bus }) => collect(bus, 'push')));
    // Other servers of a cluster hear of a subscription a moment after its own.
    const heard = (mark: string) => {
      publisher.bus.publish('push', bytesOf(mark));
      return got.every((texts) => texts.includes(mark));
    };
    await until('every subscriber hears', () => publisher.bus.connected && heard('before'));
    for (const server of cluster.servers) {
      await server.kill();
      await until('the publisher is connected', () => publisher.bus.connected);
      const mark = `without ${server.port}`;
      await until('every subscriber hears again', () => publisher.bus.connected && heard(mark));
      await server.restart();
      await cluster.formed();
    }
    const lost = [publisher, ...subscribers].flatMap(({ events }) =>
      events.filter(({ type }) => type === 'disconnected'),
    );
    assert.ok(lost.length >= 7, 'every connection was on a killed server at some time');
  });
});
