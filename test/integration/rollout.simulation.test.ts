import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { PushClient } from '@pushcluster/client/index.ts';
import { CountedMoves } from '../harness/countedMoves.ts';
import { Lateness } from '../harness/lateness.ts';
import { startNatsServer } from '../harness/natsServer.ts';
import { type GatewayProcess, startGateway, startLogic } from '../harness/processes.ts';
import { redirectedSocket } from '../harness/redirectedSocket.ts';
import { until } from '../harness/until.ts';
import { compared, keepRollout, TOLERANCE } from '../simulate/rollout.ts';

const CONNECTIONS = 200;
const RATE = 20;
const SETTLE_S = 1;
const TIMEOUT_S = 120;
/** The longest that can be set: a client gets three times as long to move, which it needs where the machine is busy. */
const MAX_DELAY_MS = 10_000;
/** Seldom enough that all clients together, which are this one process, have time to move as soon as they are asked to. */
const PUSH_EVERY_MS = 200;

describe('a rollout of real gateways with real SDK clients', () => {
  it('takes as long as the simulation says, at its pace, and nobody misses anything', async (t) => {
    const nats = await startNatsServer();
    t.after(() => nats.stop());
    const logic = await startLogic({ nats: [nats.url] });
    t.after(() => logic.stop());
    const old = await Promise.all([gateway(t, nats.url), gateway(t, nats.url)]);
    const fresh = await Promise.all([gateway(t, nats.url), gateway(t, nats.url)]);
    const service = new Service(portsOf(old));
    const people = await Promise.all(Array.from({ length: CONNECTIONS }, () => Person.arrive(t, service)));
    await until('the old gateways count them', async () => (await total(old)) === CONNECTIONS);
    // Who came at a second attempt only is not what this is about.
    for (const { closes } of people) closes.length = 0;

    let pushed = 0;
    const push = async () => assert.equal((await logic.push({ room: 'r' }, [String(++pushed)])).status, 202);
    await push();
    service.ports = portsOf(fresh);
    const began = performance.now();
    const lateness = Lateness.during(t);
    const counted = CountedMoves.of(old);
    for (const each of old) each.signal('SIGTERM');
    const gone = Promise.all(old.map(({ exit }) => exit));
    let over = false;
    void gone.then(() => {
      over = true;
    });
    // A push now and then, all the way through.
    await until(
      'the old gateways are gone',
      async () => {
        await push();
        return over;
      },
      5 * TIMEOUT_S * 1_000,
      PUSH_EVERY_MS,
    );
    const exits = await gone;
    await counted.stop();
    assert.ok(exits.every(({ code }) => code === 0));
    await push();

    const asked = people.flatMap(({ movedAt }) => movedAt);
    const measured = keepRollout({
      where: 'processes',
      connections: CONNECTIONS,
      rate: RATE,
      pods: old.length,
      durationSeconds: (Math.max(...exits.map(({ at }) => at)) - began) / 1_000,
      busiestSecond: busiest(asked, 1_000),
      settleSeconds: SETTLE_S,
      timeoutSeconds: TIMEOUT_S,
      maxDelay: MAX_DELAY_MS,
    });
    const comparison = compared(measured);
    t.diagnostic(comparison.text);
    assert.ok(comparison.apart <= TOLERANCE, comparison.text);
    // Slower only by what the machine was late.
    const allowed = (1 + TOLERANCE) * comparison.seconds + lateness.total / 1_000;
    assert.ok(measured.durationSeconds <= allowed, `${comparison.text}; late by ${Math.round(lateness.total)} ms`);
    // Its pace as the gateways counted it: who shares the processor with them hears of it late.
    const { share, text } = counted.fastest(comparison.busiestSecond, old.length);
    t.diagnostic(`fastest: ${text}`);
    assert.ok(counted.total > 0.8 * CONNECTIONS, 'the pace was seen');
    assert.ok(share <= 1 + TOLERANCE, text);

    // As it says too: moved once each, nobody cut, nothing missed.
    const others = people.filter(({ movedAt, closes }) => movedAt.length !== 1 || closes.length > 0);
    assert.deepEqual(
      others.map(({ movedAt, closes }) => `${movedAt.length} moves, closed: ${JSON.stringify(closes)}`),
      [],
    );
    await until('the new gateways count them', async () => (await total(fresh)) === CONNECTIONS);
    await until('everyone has everything', () => people.every(({ got }) => got.length === pushed));
    for (const { got } of people)
      assert.deepEqual(
        got,
        Array.from({ length: pushed }, (_, i) => i + 1),
      );
  });
});

/** Somebody in the room, by the SDK. */
class Person {
  readonly got: number[] = [];
  /** When asked to move, milliseconds. */
  readonly movedAt: number[] = [];
  readonly closes: unknown[] = [];

  static async arrive(t: TestContext, service: Service): Promise<Person> {
    const person = new Person();
    const client = new PushClient('ws://service/connect', { WebSocket: service.socket });
    t.after(() => client.close());
    client.on('state', (state) => {
      if (state === 'moving') person.movedAt.push(performance.now());
    });
    client.on('close', (close) => person.closes.push(close));
    const room = client.join('r');
    void (async () => {
      for await (const item of room) person.got.push(Number(item));
    })();
    await room.joined;
    return person;
  }
}

async function gateway(t: TestContext, nats: string): Promise<GatewayProcess> {
  const drain = { rate: RATE, settle: `${SETTLE_S}s`, timeout: `${TIMEOUT_S}s` };
  const started = await startGateway({
    settings: { gateway: { shards: 1, drain, batching: { maxDelay: MAX_DELAY_MS } } },
    nats: [nats],
  });
  t.after(async () => {
    await started.kill();
    started.folder.remove();
  });
  return started;
}

/** What a Service does: each new connection goes to the next of the ports that it knows then. */
class Service {
  ports: readonly number[];
  #next = 0;

  constructor(ports: readonly number[]) {
    this.ports = ports;
  }

  /** A WebSocket that connects to where the Service sends it. */
  get socket() {
    return redirectedSocket(() => `127.0.0.1:${this.ports[this.#next++ % this.ports.length]}`);
  }
}

function portsOf(gateways: readonly GatewayProcess[]): number[] {
  return gateways.map(({ port }) => port);
}

async function total(gateways: readonly GatewayProcess[]): Promise<number> {
  const counts = await Promise.all(gateways.map((each) => each.connections()));
  return counts.reduce((sum, count) => sum + count, 0);
}

/** The most of `times` within any `span`, both in milliseconds. */
function busiest(times: readonly number[], span: number): number {
  const sorted = times.toSorted((a, b) => a - b);
  let from = 0;
  let most = 0;
  for (const [i, time] of sorted.entries()) {
    while (sorted[from]! <= time - span) from++;
    most = Math.max(most, i - from + 1);
  }
  return most;
}
