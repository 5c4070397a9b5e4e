import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PushOptions } from '@pushcluster/client/options.ts';
import { PushClient } from '@pushcluster/client/pushClient.ts';
import type { PushError } from '@pushcluster/client/pushError.ts';
import { jwt, SimulatedClock, SimulatedNetwork } from '@pushcluster/client/simulation.ts';
import type { Room } from '@pushcluster/client/stream.ts';
import fc from 'fast-check';
import { pino } from 'pino';
import { roomOf } from '../ipc/channelKey.ts';
import { SimulatedCluster } from './cluster.ts';
import { settingsWith } from './hub.ts';

/**
 * The SDK and the gateway as a pair, held against chance: joins, leaves, kicks, tokens, moves, broken connections and bus
 * outages in any order. At the end every `joined` is settled and both sides agree on membership; no item came twice, and
 * none was missed without being told.
 */

const ROOMS = ['r', 's', 't'];
const PUBLISHERS = ['a', 'b'];
const WINDOW_MS = 1_000;
/** What an item may take beyond the window: bus, hub, wire, and their turns. */
const SPARE_MS = 1_000;
const TOKEN_SECONDS = 20;

type Op =
  | { type: 'join' | 'leave' | 'rejoin' | 'kick'; room: string }
  | { type: 'allow'; rooms: string[] | undefined }
  | { type: 'move'; withinMs: number }
  | { type: 'cut'; which: number }
  | { type: 'outage'; gateway: number; ms: number }
  | { type: 'refuse'; ms: number }
  | { type: 'push'; publisher: string; room: string; count: number };
type Plan = {
  busDelays: number[];
  latencies: number[];
  random: number;
  ops: { after: number; op: Op }[];
};

/** One membership as the page sees it. */
type Stay = {
  name: string;
  room: Room<Item>;
  items: Item[];
  /** Items that it was told not to have. */
  told: number;
  /** When `joined` was settled, and how. */
  settled: { at: number; code: 'joined' | PushError['code'] } | undefined;
  /** When it ended. */
  outAt: number;
};
type Item = { p: string; n: number };

class Page {
  readonly clock = new SimulatedClock();
  readonly network = new SimulatedNetwork();
  readonly cluster: SimulatedCluster;
  readonly push: PushClient;
  readonly stays: Stay[] = [];
  readonly published: (Item & { room: string; at: number })[] = [];
  /** When items may be lost: connections that broke (`close`, until `open`), buses that were away. */
  readonly broken: { from: number; to: number }[] = [];
  moved = 0;
  #allowed: string[] | undefined;
  #refusals = 0;

  constructor(plan: Plan, options: PushOptions = {}) {
    const { clock, network } = this;
    const settings = settingsWith({ gateway: { batching: { maxDelay: WINDOW_MS } } });
    this.cluster = new SimulatedCluster(clock, network, { ...plan, settings, log: pino({ level: 'silent' }) });
    let seed = plan.random;
    this.push = new PushClient('ws://gateway/connect', {
      WebSocket: network.WebSocket,
      clock,
      random: () => {
        seed = (seed * 16_807 + 1) % 2_147_483_647;
        return seed / 2_147_483_647;
      },
      token: async () => this.#token(),
      ...options,
    });
    this.push.on('moved', () => this.moved++);
    this.push.on('close', () => this.#breaks());
    // Some pages come back at once, and once.
    let back: Stay | undefined;
    this.push.on('left', ({ room }) => {
      const left = this.#present(room);
      if (!left || left === back || plan.random % 2 === 0) return;
      left.outAt = clock.now();
      this.#join(room);
      back = this.#present(room);
    });
    this.push.on('open', () => {
      const last = this.broken.at(-1);
      if (last?.to === Number.POSITIVE_INFINITY) last.to = clock.now() + WINDOW_MS + SPARE_MS;
    });
  }

  do(op: Op): void {
    const { cluster, clock } = this;
    switch (op.type) {
      case 'join':
        this.#join(op.room);
        return;
      case 'leave':
        this.#present(op.room)?.room.leave();
        return;
      case 'rejoin':
        this.#present(op.room)?.room.leave();
        this.#join(op.room);
        return;
      case 'kick':
        cluster.command({ type: 'disconnect_room', room: op.room, reason: 'over' });
        return;
      case 'allow':
        this.#allowed = op.rooms;
        return;
      case 'move':
        for (const { shards } of cluster.gateways.slice(0, 1 + (this.cluster.wires.length % cluster.gateways.length)))
          for (const { moving } of shards)
            moving.ask(10, { withinMs: op.withinMs, overlapMs: WINDOW_MS + SPARE_MS }, 'leave');
        return;
      case 'cut': {
        const { wires } = cluster;
        const wire = wires[op.which % Math.max(1, wires.length)];
        if (wire) cluster.cut(wire);
        return;
      }
      case 'outage': {
        const { bus } = cluster.gateways[op.gateway % cluster.gateways.length]!;
        if (!bus.connected) return;
        bus.cut();
        this.broken.push({ from: clock.now() - SPARE_MS, to: clock.now() + op.ms + SPARE_MS });
        clock.after(op.ms, () => bus.mend());
        return;
      }
      case 'refuse':
        cluster.refusing = true;
        this.#refusals++;
        clock.after(op.ms, () => {
          cluster.refusing = --this.#refusals > 0;
        });
        return;
      case 'push': {
        const last = cluster.push(op.publisher, op.room, op.count);
        for (let n = last - op.count + 1; n <= last; n++)
          this.published.push({ p: op.publisher, n, room: op.room, at: clock.now() });
        return;
      }
    }
  }

  /** Rooms by the page's own view, and by the gateways'. */
  get membership(): { page: string[]; gateways: string[][] } {
    const page = this.stays.filter(({ outAt }) => outAt === Number.POSITIVE_INFINITY).map(({ name }) => name);
    const gateways = this.cluster.wires.map(({ connection }) =>
      connection!.members.flatMap(({ channel }) => roomOf(channel.key) ?? []).sort(),
    );
    return { page: page.sort(), gateways };
  }

  #join(name: string) {
    if (this.#present(name)) return;
    const room = this.push.join<Item>(name);
    const stay: Stay = { name, room, items: [], told: 0, settled: undefined, outAt: Number.POSITIVE_INFINITY };
    this.stays.push(stay);
    room.on('item', (item) => stay.items.push(item));
    room.on('gap', ({ missed }) => (stay.told += missed));
    room.on('lagged', ({ dropped }) => (stay.told += dropped));
    const { clock } = this;
    room.joined.then(
      () => (stay.settled = { at: clock.now(), code: 'joined' }),
      ({ code }: PushError) => (stay.settled = { at: clock.now(), code }),
    );
    const ends = async () => {
      for await (const _ of room);
    };
    const ended = () => {
      stay.outAt = clock.now();
    };
    ends().then(ended, ended);
  }

  #present(name: string) {
    return this.stays.find((stay) => stay.name === name && stay.outAt === Number.POSITIVE_INFINITY);
  }

  #breaks() {
    const last = this.broken.at(-1);
    if (last?.to === Number.POSITIVE_INFINITY) return;
    this.broken.push({ from: this.clock.now() - WINDOW_MS - SPARE_MS, to: Number.POSITIVE_INFINITY });
  }

  #token(): string {
    const now = Math.floor(this.clock.now() / 1_000);
    const rooms = this.#allowed === undefined ? {} : { rooms: this.#allowed };
    return jwt({ sub: 'u', iat: now, exp: now + TOKEN_SECONDS, ...rooms });
  }
}

async function play(plan: Plan) {
  const page = new Page(plan);
  await page.clock.advance(1_000);
  for (const { after, op } of plan.ops) {
    await page.clock.advance(after);
    page.do(op);
  }
  await page.clock.advance(120_000);
  const { membership } = page;
  // Whoever is in a room hears this, and what was lost before it.
  for (const room of ROOMS) for (const publisher of PUBLISHERS) page.do({ type: 'push', publisher, room, count: 1 });
  await page.clock.advance(10_000);
  const { state } = page.push;
  page.push.close();
  return { page, membership, state };
}

/** Items that a stay should have had, and had not. */
function missing(page: Page, stay: Stay): Item[] {
  const { settled, name, outAt } = stay;
  if (settled?.code !== 'joined') return [];
  const got = new Set(stay.items.map(({ p, n }) => `${p}${n}`));
  return page.published.filter(
    ({ room, at, p, n }) =>
      room === name &&
      at >= settled.at &&
      at < outAt - WINDOW_MS - SPARE_MS &&
      !page.broken.some(({ from, to }) => at >= from && at <= to) &&
      !got.has(`${p}${n}`),
  );
}

const room = fc.constantFrom(...ROOMS);
const op: fc.Arbitrary<Op> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ type: fc.constantFrom('join' as const), room }) },
  {
    weight: 4,
    arbitrary: fc.record({ type: fc.constantFrom('leave' as const, 'rejoin' as const, 'kick' as const), room }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      type: fc.constant('allow' as const),
      rooms: fc.option(fc.subarray(ROOMS), { nil: undefined }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ type: fc.constant('move' as const), withinMs: fc.constantFrom(3_000, 8_000, 16_000) }),
  },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('cut' as const), which: fc.nat(3) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      type: fc.constant('outage' as const),
      gateway: fc.nat(2),
      ms: fc.integer({ min: 50, max: 8_000 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ type: fc.constant('refuse' as const), ms: fc.integer({ min: 50, max: 8_000 }) }),
  },
  {
    weight: 12,
    arbitrary: fc.record({
      type: fc.constant('push' as const),
      publisher: fc.constantFrom(...PUBLISHERS),
      room,
      count: fc.integer({ min: 1, max: 3 }),
    }),
  },
);
const delay = fc.integer({ min: 1, max: 200 });
const plans: fc.Arbitrary<Plan> = fc.record({
  busDelays: fc.array(delay, { minLength: 2, maxLength: 3 }),
  latencies: fc.array(delay, { minLength: 1, maxLength: 4 }),
  random: fc.integer({ min: 1, max: 2_000_000_000 }),
  ops: fc.array(
    fc.record({
      after: fc.oneof(
        { weight: 2, arbitrary: fc.constant(0) },
        { weight: 3, arbitrary: fc.nat(400) },
        { weight: 1, arbitrary: fc.nat(6_000) },
      ),
      op,
    }),
    { minLength: 10, maxLength: 80 },
  ),
});

test('whatever happens, every joined is settled, both sides agree on membership, and nothing comes twice or is missed untold', async () => {
  let moves = 0;
  let stays = 0;
  await fc.assert(
    fc.asyncProperty(plans, async (plan) => {
      const { page, membership, state } = await play(plan);
      moves += page.moved;
      stays += page.stays.length;
      assert.equal(state, 'open');
      assert.deepEqual(membership.gateways, [membership.page], 'both sides are in the same rooms');
      for (const stay of page.stays) {
        assert.ok(stay.settled, `joined of ${stay.name} is settled`);
        const lost = missing(page, stay);
        assert.ok(lost.length <= stay.told, `${JSON.stringify(lost)} missed, ${stay.told} told`);
      }
      for (const name of ROOMS) {
        const items = page.stays.filter((stay) => stay.name === name).flatMap((stay) => stay.items);
        const ids = items.map(({ p, n }) => `${p}${n}`);
        assert.deepEqual(ids, [...new Set(ids)], `what came in ${name} came once`);
      }
    }),
    {
      numRuns: Number(process.env.PAIR_RUNS ?? 150),
      ...(process.env.PAIR_SEED ? { seed: Number(process.env.PAIR_SEED) } : {}),
    },
  );
  assert.ok(moves > 20 && stays > 150, `${moves} moves, ${stays} stays`);
});
