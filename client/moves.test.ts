import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { bundle } from './bundle.ts';
import { PushClient } from './pushClient.ts';
import { type SentFrame, SimulatedClock, SimulatedNetwork, type SimulatedSocket } from './simulation.ts';

/**
 * The promise of a move, held against chance: gateways with merge windows and bus delays of their own, wires with
 * latencies of their own, several publishers, and RECONNECTs at any moment. No item twice, none missed, order kept.
 */

type Item = { p: string; n: number };
type Channel = 'r' | 'all' | 'user';
type Batch = { publisher: string; first: number; items: Item[] };

type GatewayPlan = { busDelay: number; maxDelay: number };
type Plan = {
  gateways: GatewayPlan[];
  /** One-way, of the n-th connection. */
  latencies: number[];
  /** Which attempts beyond the first fail. */
  failing: boolean[];
  publishes: { at: number; publisher: number; channel: Channel; count: number; skip: number }[];
  moves: { at: number; withinMs: number; punctual: boolean }[];
};

const MOVE_MS = 8_000;

/** A gateway as the client sees it: merges by a leading-edge window, and sends what is flushed to who is a member. */
class Gateway {
  readonly #clock: SimulatedClock;
  readonly #plan: GatewayPlan;
  readonly #members: Record<Channel, Set<Connection>> = { r: new Set(), all: new Set(), user: new Set() };
  readonly #windows: Record<Channel, { batches: Batch[]; last: number; timer: boolean }>;

  constructor(clock: SimulatedClock, plan: GatewayPlan) {
    this.#clock = clock;
    this.#plan = plan;
    const window = () => ({ batches: [], last: 0, timer: false });
    this.#windows = { r: window(), all: window(), user: window() };
  }

  publish(channel: Channel, batch: Batch) {
    this.#clock.after(this.#plan.busDelay, () => {
      const window = this.#windows[channel];
      window.batches.push(batch);
      if (window.timer) return;
      window.timer = true;
      this.#clock.after(window.last + this.#plan.maxDelay - this.#clock.now(), () => this.#flush(channel));
    });
  }

  member(channel: Channel, connection: Connection) {
    this.#members[channel].add(connection);
  }

  gone(connection: Connection) {
    for (const members of Object.values(this.#members)) members.delete(connection);
  }

  #flush(channel: Channel) {
    const window = this.#windows[channel];
    window.timer = false;
    window.last = this.#clock.now();
    const batches = window.batches.splice(0);
    const place = channel === 'r' ? { room: 'r' } : channel === 'user' ? { user: true } : {};
    const frame = {
      type: 'PUSH',
      data: {
        ...place,
        ids: batches.map(({ publisher, first, items }) => [publisher, first, items.length]),
        items: batches.flatMap(({ items }) => items),
      },
    };
    for (const connection of this.#members[channel]) connection.say(frame);
  }
}

/** One connection with its wire: what is said arrives later, in order. */
class Connection {
  readonly socket: SimulatedSocket;
  readonly gateway: Gateway;
  readonly #clock: SimulatedClock;
  readonly #latency: number;

  constructor(clock: SimulatedClock, socket: SimulatedSocket, gateway: Gateway, latency: number) {
    this.#clock = clock;
    this.socket = socket;
    this.gateway = gateway;
    this.#latency = latency;
  }

  travel(run: () => void) {
    this.#clock.after(this.#latency, run);
  }

  say(frame: object) {
    this.travel(() => this.socket.say(frame));
  }

  end(code: number) {
    this.gateway.gone(this);
    this.travel(() => this.socket.end(code));
  }

  heard({ type, id, data }: SentFrame) {
    this.travel(() => {
      if (type === 'JOIN' && data.room === 'r') this.gateway.member('r', this);
      if (type === 'PING') this.say({ type: 'PONG', data: {} });
      if (id !== undefined) this.say({ type: 'OK', id, data: {} });
    });
  }
}

async function play(plan: Plan, Client = PushClient) {
  const clock = new SimulatedClock();
  const network = new SimulatedNetwork();
  const gateways = plan.gateways.map((gateway) => new Gateway(clock, gateway));
  const connections = new Map<SimulatedSocket, Connection>();
  let served = 0;
  network.onOpen = (socket) => {
    const attempt = connections.size;
    const gateway = gateways[served % gateways.length]!;
    const connection = new Connection(clock, socket, gateway, plan.latencies[attempt % plan.latencies.length]!);
    connections.set(socket, connection);
    if (attempt > 0 && plan.failing[attempt % plan.failing.length]) {
      connection.end(1006);
      return;
    }
    served++;
    connection.travel(() => {
      gateway.member('all', connection);
      gateway.member('user', connection);
      connection.travel(() => socket.accept());
    });
  };
  network.onSend = (socket, frame) => connections.get(socket)?.heard(frame);
  network.onClose = (socket) => {
    const connection = connections.get(socket);
    connection?.travel(() => connection.gateway.gone(connection));
  };

  const push = new Client('ws://gateway/connect', { WebSocket: network.WebSocket, clock, random: () => 0.5 });
  const room = push.join<Item>('r');
  const got: Record<Channel, Item[]> = { r: [], all: [], user: [] };
  room.on('item', (item) => got.r.push(item));
  push.all.on('item', (item) => got.all.push(item as Item));
  push.user.on('item', (item) => got.user.push(item as Item));
  const gaps: object[] = [];
  push.on('gap', (gap) => gaps.push(gap));
  const closes: object[] = [];
  push.on('close', (event) => closes.push(event));
  let moved = 0;
  push.on('moved', () => moved++);

  await clock.advance(2_000);
  await room.joined;
  const sent: Record<Channel, Item[]> = { r: [], all: [], user: [] };
  const counters = new Map<string, number>();
  for (const { at, publisher, channel, count, skip } of plan.publishes)
    clock.after(at, () => {
      const p = `p${publisher}`;
      // What a publisher counts for other users never comes here.
      const first = (counters.get(p + channel) ?? 0) + 1 + (channel === 'user' ? skip : 0);
      counters.set(p + channel, first + count - 1);
      const items = Array.from({ length: count }, (_, i) => ({ p, n: first + i }));
      sent[channel].push(...items);
      for (const gateway of gateways) gateway.publish(channel, { publisher: p, first, items });
    });
  for (const { at, withinMs, punctual } of plan.moves)
    clock.after(at, () => {
      // The gateway that serves now leaves, and ends what is left at its deadline.
      const [connection] = [...connections.values()].filter(
        ({ socket }) => socket.onmessage && socket.closedWith === undefined,
      );
      if (!connection) return;
      connection.say({ type: 'RECONNECT', data: { withinMs } });
      if (punctual) clock.after(withinMs, () => connection.socket.closedWith === undefined && connection.end(1012));
    });
  await clock.advance(120_000);
  const state = push.state;
  push.close();
  return { sent, got, gaps, closes, moved, state };
}

const millis = (max: number) => fc.integer({ min: 0, max });

const plans: fc.Arbitrary<Plan> = fc.record({
  gateways: fc.array(fc.record({ busDelay: millis(300), maxDelay: millis(1_000) }), { minLength: 2, maxLength: 3 }),
  latencies: fc.array(millis(200), { minLength: 1, maxLength: 5 }),
  failing: fc.array(fc.boolean(), { minLength: 3, maxLength: 3 }).map((failing) => [...failing, false]),
  publishes: fc.array(
    fc.record({
      at: millis(60_000),
      publisher: fc.integer({ min: 0, max: 2 }),
      channel: fc.constantFrom('r' as const, 'all' as const, 'user' as const),
      count: fc.integer({ min: 1, max: 4 }),
      skip: fc.integer({ min: 0, max: 3 }),
    }),
    { minLength: 40, maxLength: 150 },
  ),
  moves: fc.array(
    fc.record({ at: millis(60_000), withinMs: fc.constantFrom(MOVE_MS, 2 * MOVE_MS), punctual: fc.boolean() }),
    { minLength: 1, maxLength: 6 },
  ),
});

const built = await import(`data:text/javascript,${encodeURIComponent(await bundle())}`);

test('through any moves no item comes twice, none is missed, and each publisher keeps its order', async () => {
  let moves = 0;
  await fc.assert(
    fc.asyncProperty(plans, fc.boolean(), async (plan, isBuilt) => {
      const played = await play(plan, isBuilt ? built.PushClient : PushClient);
      const { sent, got, gaps, closes, moved, state } = played;
      moves += moved;
      assert.deepEqual(gaps, []);
      assert.deepEqual(closes, []);
      assert.equal(state, 'open');
      for (const channel of ['r', 'all', 'user'] as const)
        for (const p of ['p0', 'p1', 'p2']) {
          const of = (items: Item[]) => items.filter((item) => item.p === p).map(({ n }) => n);
          assert.deepEqual(of(got[channel]), of(sent[channel]), `${channel} ${p}`);
        }
    }),
    { numRuns: 200 },
  );
  assert.ok(moves > 200, `only ${moves} moves happened`);
});
