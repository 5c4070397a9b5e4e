import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { PushClient } from '@pushcluster/client/pushClient.ts';
import type { Stream } from '@pushcluster/client/stream.ts';
import { type NatsServer, startNatsServer } from '../harness/natsServer.ts';
import { type GatewayProcess, type LogicProcess, startGateway, startLogic } from '../harness/processes.ts';
import { redirectedSocket } from '../harness/redirectedSocket.ts';
import { hs256, secondsFromNow } from '../harness/tokens.ts';
import { until } from '../harness/until.ts';

const SECRET = 'the secret of the SDK test';
const CLIENTS = 24;
const ROOMS = ['lobby', '房间 🎈', 'a/b c'];

type Item = { writer: string; n: number };

const folder = mkdtempSync(join(tmpdir(), 'pushcluster-sdk-'));
const secretFile = join(folder, 'secret');

/** One SDK client, what it was sent by each writer, and what happened to it. */
class Watcher {
  readonly push: PushClient;
  readonly room: string;
  readonly user: string;
  readonly got = new Map<string, number[]>();
  readonly gaps: object[] = [];
  moved = 0;
  closes = 0;

  constructor(index: number, ports: () => readonly number[]) {
    this.room = ROOMS[index % ROOMS.length]!;
    this.user = `user${index % 2}`;
    const token = () => hs256(SECRET, { sub: this.user, exp: secondsFromNow(60) });
    this.push = new PushClient('ws://balancer/connect', {
      token,
      compression: index % 2 === 0,
      backoff: { base: 50 },
      WebSocket: balanced(ports, index),
    });
    this.#watch(this.push.join<Item>(this.room));
    this.#watch(this.push.all);
    this.#watch(this.push.user);
    this.push.on('moved', () => this.moved++);
    this.push.on('close', () => this.closes++);
    this.push.on('gap', (gap) => this.gaps.push(gap));
  }

  /** The numbers that came of one writer. */
  of(writer: string): number[] {
    return this.got.get(writer) ?? [];
  }

  #watch(stream: Stream) {
    stream.on('item', (item) => {
      const { writer, n } = item as Item;
      const numbers = this.got.get(writer) ?? [];
      this.got.set(writer, numbers);
      numbers.push(n);
    });
  }
}

/** A WebSocket that connects to one of `ports`, each time another: what a load balancer does. */
function balanced(ports: () => readonly number[], first: number) {
  let next = first;
  return redirectedSocket(() => {
    const choice = ports();
    return `127.0.0.1:${choice[next++ % choice.length]}`;
  });
}

/** Writes to every room, to all and to a user, through two logic processes, until it is told to stop. */
class Writers {
  readonly written = new Map<string, number>();
  #stopped = false;
  readonly #loops: Promise<void>[];

  constructor(logics: readonly LogicProcess[]) {
    const places = [...ROOMS.map((room) => ({ room })), { all: true as const }, { user: 'user0' }];
    this.#loops = logics.flatMap((logic, l) =>
      places.map(async (to) => {
        const writer = `${l} ${JSON.stringify(to)}`;
        for (let n = 1; !this.#stopped; n += 3) {
          const items = [n, n + 1, n + 2].map((each) => JSON.stringify({ writer, n: each, filling: 'x'.repeat(60) }));
          const { status } = await logic.push(to, items);
          assert.equal(status, 202);
          this.written.set(writer, n + 2);
          await pause(40);
        }
      }),
    );
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#loops);
  }

  /** Writers whose items are for this client. */
  for({ room, user }: Watcher): string[] {
    const to = new Set([JSON.stringify({ room }), JSON.stringify({ all: true }), JSON.stringify({ user })]);
    return [...this.written.keys()].filter((writer) => to.has(writer.slice(2)));
  }
}

describe('the SDK with two gateways, two logic processes and NATS', () => {
  let nats: NatsServer;
  let gateways: GatewayProcess[];
  let logics: LogicProcess[];
  const watchers: Watcher[] = [];
  let accepting: GatewayProcess[];

  before(async () => {
    writeFileSync(secretFile, SECRET);
    nats = await startNatsServer();
    const settings = {
      // Gateways that leave give their clients 8 s to move where their timeout is that long, and end as soon as all have.
      gateway: { shards: 2, batching: { maxDelay: 250 }, drain: { settle: 0, timeout: 60_000, rate: 20 } },
      auth: { jwt: { secretFile } },
    };
    const options = { settings, nats: [nats.url] };
    [gateways, logics] = await Promise.all([
      Promise.all([startGateway(options), startGateway(options)]),
      Promise.all([startLogic({ nats: [nats.url] }), startLogic({ nats: [nats.url] })]),
    ]);
    accepting = [...gateways];
    for (let i = 0; i < CLIENTS; i++) watchers.push(new Watcher(i, () => accepting.map(({ port }) => port)));
    await until('every client is in its room', () => watchers.every(({ push }) => push.state === 'open'));
    await Promise.all(watchers.map(({ push, room }) => push.join(room).joined));
    // Who came at a second attempt only is not what this is about.
    for (const watcher of watchers) watcher.closes = 0;
  });

  after(async () => {
    for (const { push } of watchers) push.close();
    await Promise.all([...gateways, ...logics].map((process) => process.stop()));
    await nats.stop();
    rmSync(folder, { recursive: true });
  });

  it('moves from gateways that leave, both of them in turn, with no item twice, none missed, and the order kept', async () => {
    const writers = new Writers(logics);
    await until('items flow', () => watchers.every((watcher) => watcher.got.size > 0));
    const held = () => Promise.all(gateways.map((gateway) => gateway.connections()));
    await until('all are counted', async () => (await held()).reduce((sum, count) => sum + count, 0) === CLIENTS);
    const [onFirst = 0] = await held();
    for (const gateway of gateways) {
      accepting = gateways.filter((other) => other !== gateway);
      gateway.signal('SIGTERM');
      const { code } = await gateway.exit;
      assert.equal(code, 0);
      await gateway.start();
    }
    accepting = [...gateways];
    await writers.stop();
    let items = 0;
    let moves = 0;
    for (const watcher of watchers) {
      const mine = writers.for(watcher);
      await until(`the last items came to ${watcher.user} in ${watcher.room}`, () =>
        mine.every((writer) => watcher.of(writer).at(-1) === writers.written.get(writer)),
      );
      for (const writer of mine) {
        const expected = Array.from({ length: writers.written.get(writer)! }, (_, i) => i + 1);
        assert.deepEqual(watcher.of(writer), expected, `${writer} at ${watcher.user}`);
        items += expected.length;
      }
      assert.deepEqual([...watcher.got.keys()].sort(), mine.sort());
      assert.deepEqual(watcher.gaps, []);
      assert.equal(watcher.closes, 0);
      moves += watcher.moved;
    }
    // Those on the first gateway to the second one, and then all of them back.
    assert.ok(moves >= onFirst + CLIENTS, `only ${moves} moves`);
    console.log(`${items} items came to ${CLIENTS} clients over ${moves} moves: each once, in order`);
  });

  it('comes back by itself after a gateway was killed, joins its rooms, and sees nothing twice', async () => {
    const writers = new Writers(logics);
    const victim = gateways[0]!;
    await until('items flow', () =>
      watchers.every((watcher) => writers.for(watcher).some((writer) => watcher.of(writer).length > 0)),
    );
    for (const watcher of watchers) watcher.got.clear();
    accepting = gateways.slice(1);
    await victim.kill();
    await until('everyone is back', () => watchers.every(({ push }) => push.state === 'open'));
    const since = new Map(writers.written);
    const lacking = () =>
      watchers.flatMap((watcher, index) =>
        writers
          .for(watcher)
          .filter((writer) => (watcher.of(writer).at(-1) ?? 0) <= since.get(writer)! + 6)
          .map((writer) => `client ${index} (${watcher.push.state}) of ${writer}: ${writers.written.get(writer)}`),
      );
    await until('items flow again to everyone', () => lacking().length === 0).catch(() =>
      assert.deepEqual(lacking(), [], 'clients that miss what was written'),
    );
    await writers.stop();
    for (const watcher of watchers)
      for (const writer of writers.for(watcher)) {
        const numbers = watcher.of(writer);
        assert.ok(
          numbers.every((n, i) => i === 0 || n > numbers[i - 1]!),
          `${writer} at ${watcher.user} in order, once`,
        );
      }
    assert.ok(watchers.some(({ closes }) => closes > 0));
    await victim.start();
    accepting = [...gateways];
  });

  it('stays away after the API disconnected its user, and says why', async () => {
    const victims = watchers.filter(({ user }) => user === 'user1');
    const codes: number[] = [];
    for (const { push } of victims)
      push.on('close', ({ code, willRetry }) => {
        assert.equal(willRetry, false);
        codes.push(code);
      });
    assert.equal((await logics[0]!.disconnect({ user: 'user1' }, 'banned')).status < 300, true);
    await until('they are gone', () => codes.length === victims.length);
    assert.ok(codes.every((code) => code === 4002));
    assert.ok(watchers.every(({ push, user }) => (push.state === 'closed') === (user === 'user1')));
  });
});
