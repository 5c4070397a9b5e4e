import assert from 'node:assert/strict';
import { PushClient } from '@pushcluster/client/pushClient.ts';
import { SimulatedClock, SimulatedNetwork } from '@pushcluster/client/simulation.ts';
import type { Room, RoomPosition } from '@pushcluster/client/stream.ts';
import { SimulatedCluster } from '@pushcluster/gateway/simulation/cluster.ts';
import { settingsWith } from '@pushcluster/gateway/simulation/hub.ts';
import { type Limits, type Sabotage, SimulatedHistory } from '@pushcluster/gateway/simulation/simulatedHistory.ts';
import { encodePush, joinItems } from '@pushcluster/protocol/push.ts';
import fc from 'fast-check';
import { pino } from 'pino';

/**
 * For tests: rooms with history, held against chance. Hubs and shards of two gateways and two SDK clients, all of them the
 * real ones, in virtual time, on a model of JetStream with its faults. Between two resets a room is told its history whole,
 * in order and once; resets come only where the history was interrupted; and once all is healed nobody lacks anything.
 */

const ROOMS = ['r', 's'];
const CLIENTS = 2;
/** Milliseconds in which things happen, and what they take at most. */
const [BUSY_MS, LONGEST_MS] = [12_000, 4_000];
/** Milliseconds within which all is well once nothing is broken any more. */
const HEALED_MS = 30_000;
/** Milliseconds for which a server that answers may be behind the leader. The monitor relies on it: its BEHIND_MS is more. */
const BEHIND_MS = 1_500;
/** Milliseconds for which a server may take itself for the leader: longer, and NatsHistory does not believe it. */
const STRANDED_MS = 3_500;
/** Milliseconds for which a server may know of a stream's present pushes and its former epoch: the monitor waits for longer. */
const UNAWARE_MS = 10_000;
/** Milliseconds within which gateways that can ask notice that the history was replaced, though it was silent before. */
const NOTICED_MS = LONGEST_MS + 4_000;
/** Milliseconds for which the store may be away in all until hubs may go on without what they lack. */
const AWAY_MS = 14_000;
const SETTINGS = settingsWith({
  gateway: { batching: { maxDelay: 200 } },
  rooms: [{ match: '*', history: { messages: 1_000 } }],
});
const log = pino({ level: 'silent' });

type Event = { at: number } & (
  | { what: 'push'; room: string; items: number }
  | { what: 'crash'; tail: number; silentMs: number; burstAfter: number }
  | { what: 'burst'; count: number }
  | { what: 'behind'; gateway: number; count: number; ms: number }
  | { what: 'strand'; gateway: number; ms: number }
  | { what: 'silence'; ms: number }
  | { what: 'outage'; gateway: number; ms: number }
  | { what: 'cut'; which: number }
  | { what: 'move'; gateway: number }
  | { what: 'page'; client: number }
  | { what: 'slow'; which: number; ms: number; capacity: number }
  | { what: 'recreate'; ms: number }
  | { what: 'rollBack'; count: number }
  | { what: 'restart'; count: number; ms: number }
  | { what: 'unaware'; ms: number }
);
export type Plan = { busDelays: number[]; latencies: number[]; random: number; limits: Limits; events: Event[] };

/** What is broken on purpose. */
type Mistake = Sabotage | /** A page keeps the position before the last item. */ 'position';

type Item = { number: number; index: number };
/** What a room was told from a place on. */
type Part = { from: RoomPosition | undefined; items: Item[] /** When each came. */; heard: number[] };

/** A client's room, over its pages. */
class Reader {
  readonly parts: Part[] = [];
  readonly resets: number[] = [];
  readonly name: string;
  room!: Room<Item>;
  /** Where it was before the last item. */
  late: RoomPosition | undefined;

  constructor(name: string) {
    this.name = name;
  }

  open(push: PushClient, clock: SimulatedClock, since: RoomPosition | undefined) {
    const room = push.join<Item>(this.name, { since });
    this.room = room;
    if (!since) {
      const part: Part = { from: undefined, items: [], heard: [] };
      this.parts.push(part);
      room.joined.then(
        () => {
          part.from ??= room.position;
        },
        () => {},
      );
    }
    let before = since;
    room.on('item', (item) => {
      const part = this.parts.at(-1)!;
      part.items.push(item);
      part.heard.push(clock.now());
      this.late = before;
      before = room.position;
    });
    room.on('reset', () => {
      this.resets.push(clock.now());
      this.parts.push({ from: room.position, items: [], heard: [] });
    });
  }
}

async function play(plan: Plan, mistake?: Mistake) {
  const clock = new SimulatedClock();
  const network = new SimulatedNetwork();
  const history = new SimulatedHistory(clock, plan.limits, mistake === 'position' ? undefined : mistake);
  const cluster = new SimulatedCluster(clock, network, {
    ...plan,
    settings: SETTINGS,
    log,
    historyOf: (bus) => history.storeOf(bus),
  });
  const clients = Array.from({ length: CLIENTS }, () => ROOMS.map((name) => new Reader(name)));
  const open = (readers: Reader[], since: (RoomPosition | undefined)[]): PushClient => {
    const push = new PushClient('ws://gateway/connect', {
      ...{ WebSocket: network.WebSocket, clock, random: Math.random, compression: false },
    });
    for (const [i, reader] of readers.entries()) reader.open(push, clock, since[i]);
    return push;
  };
  const pages = clients.map((readers) => open(readers, []));
  let pushes = 0;
  const act = (event: Event) => {
    const { wires, gateways } = cluster;
    switch (event.what) {
      case 'push': {
        const number = ++pushes;
        const items = Array.from({ length: event.items }, (_, index) => Buffer.from(JSON.stringify({ number, index })));
        const header = { publisher: 'p', counter: number, at: clock.now(), begun: 0, beat: 0, mark: number, first: 0 };
        history.append(
          number,
          event.room,
          encodePush({ ...header, urgent: false, id: `${number}`, items: joinItems(items) }),
        );
        return;
      }
      case 'crash':
        history.crash(event.tail);
        if (event.silentMs > 0) history.silence(event.silentMs);
        clock.after(event.burstAfter, () => history.burst(event.tail + 3));
        return;
      case 'burst':
        return history.burst(event.count);
      case 'behind':
        return history.fallBehind(gateways[event.gateway]!.bus, event.count, event.ms);
      case 'strand':
        return history.strand(gateways[event.gateway]!.bus, event.ms);
      case 'silence':
        return history.silence(event.ms);
      case 'outage': {
        const { bus } = gateways[event.gateway]!;
        bus.cut();
        clock.after(event.ms, () => bus.mend());
        return;
      }
      case 'cut': {
        const wire = wires[event.which % Math.max(1, wires.length)];
        if (wire) cluster.cut(wire);
        return;
      }
      case 'move':
        cluster.next = 1 - event.gateway;
        for (const { moving } of gateways[event.gateway]!.shards)
          moving.ask(10, { withinMs: 4_000, overlapMs: 1_000 }, 'leave');
        return;
      case 'page': {
        const readers = clients[event.client]!;
        const since = readers.map(({ room, late }) => {
          const position = mistake === 'position' ? late : room.position;
          return position && JSON.parse(JSON.stringify(position));
        });
        pages[event.client]!.close();
        pages[event.client] = open(readers, since);
        return;
      }
      case 'slow': {
        const wire = wires[event.which % Math.max(1, wires.length)];
        wire?.stop(event.capacity);
        clock.after(event.ms, () => wire?.read());
        return;
      }
      case 'recreate':
        return history.recreate(event.ms);
      case 'rollBack':
        return history.rollBack(event.count);
      case 'restart': {
        // All servers of the store restart, without their last pushes. A leader that was cut off, or does not know what the
        // stream has become, may hide that from gateways which were away.
        for (const { bus } of gateways) bus.cut();
        history.rollBack(event.count, !plan.events.some(({ what }) => what === 'unaware' || what === 'strand'));
        clock.after(event.ms, () => {
          for (const { bus } of gateways) bus.mend();
        });
        return;
      }
      case 'unaware':
        return history.unaware(event.ms);
    }
  };
  await clock.advance(2_000);
  for (const event of plan.events) clock.after(event.at, () => act(event));
  await clock.advance(BUSY_MS + LONGEST_MS);
  const isWell = () =>
    pages.every(({ state }) => state === 'open') &&
    clients.every((readers) =>
      readers.every(({ name, room: { position } }) => {
        const { epoch, pushes } = history.lines.at(-1)!;
        const last = pushes.findLast((push) => push.room === name)?.seq ?? 0;
        return position?.epoch === epoch && position.seq >= last && position.seq <= history.last;
      }),
    );
  const healed = async () => {
    for (let waited = 0; waited < HEALED_MS && !isWell(); waited += 1_000) await clock.advance(1_000);
  };
  await healed();
  // What comes too much comes now. A gateway may close a connection that did not move in time: that client comes back.
  await clock.advance(1_000);
  await healed();
  const states = pages.map(({ state }) => state);
  for (const page of pages) page.close();
  return { history, clients, states };
}

/** Items of a room in a line of its history, as they should be told. */
function itemsOf(pushes: SimulatedHistory['lines'][number]['pushes'], room: string, plan: Plan): Item[] {
  const counts = plan.events
    .filter((event) => event.what === 'push')
    .sort((a, b) => a.at - b.at)
    .map(({ items }) => items);
  return pushes
    .filter((push) => push.room === room)
    .flatMap(({ number }) => Array.from({ length: counts[number - 1]! }, (_, index) => ({ number, index })));
}

function assertHolds(plan: Plan, { history, clients, states }: Awaited<ReturnType<typeof play>>) {
  assert.deepEqual([...new Set(states)], ['open']);
  const present = history.lines.at(-1)!;
  for (const [client, readers] of clients.entries()) {
    for (const { name, parts, resets, room } of readers) {
      const who = `client ${client} in ${name}`;
      // It took the last push while it moved to a gateway that never had it, before the store lost it. The next push tells.
      const hasMoved =
        plan.events.some(({ what }) => what === 'move') && plan.events.some(({ what }) => what === 'restart');
      const isAhead = hasMoved && (room.position?.seq ?? 0) > history.last;
      for (const [i, { from, items, heard }] of parts.entries()) {
        const isLast = i === parts.length - 1;
        const fits = (some: Item[]) =>
          (isLast && !isAhead ? [present] : history.lines).some((line) => {
            const all = itemsOf(line.pushes, name, plan);
            const isFirst = i === 0 && from?.epoch === line.epoch;
            const first = isFirst ? line.pushes.find((push) => push.room === name && push.seq > from.seq) : undefined;
            const number = first?.number ?? some[0]?.number;
            const start = all.findIndex((item) => item.number === number);
            const end = isLast && !isAhead ? all.length : start + some.length;
            const should = start < 0 ? [] : all.slice(start, end);
            return JSON.stringify(should) === JSON.stringify(some) && all[end]?.index !== 1;
          });
        // Gateways notice within seconds that the numbers count anew. Until that reset, members may miss what was pushed
        // meanwhile, and may be told of what is gone: each of the two in order.
        const began = resets[i - 1] ?? 0;
        const isMixed = () =>
          !isLast &&
          history.replacedAt.some((at) => {
            const pushedAt = ({ number }: Item) =>
              history.lines.flatMap(({ pushes }) => pushes).find((push) => push.number === number)!.at;
            const isAll = fits(items.filter((_, n) => heard[n]! < at));
            // What was pushed in that moment is of either.
            const areTwo = (from: number) =>
              areInOrder(items.filter((item) => pushedAt(item) >= from)) &&
              areInOrder(items.filter((item) => pushedAt(item) < from));
            return at >= began - NOTICED_MS && isAll && (areTwo(at) || areTwo(at + 1));
          });
        const isTold = fits(items) || isMixed();
        assert.ok(isTold, `${who}, part ${i}: ${JSON.stringify(items)} from ${JSON.stringify(from)}`);
      }
      const last = present.pushes.findLast((push) => push.room === name)?.seq ?? 0;
      assert.equal(room.position?.epoch, present.epoch, `${who} is in the present history`);
      assert.ok(room.position.seq >= last, `${who} is at ${room.position.seq} of ${last}`);
      const needless = resets.filter((at) => at < interruptedAt(plan, history));
      assert.deepEqual(needless, [], `${who} was reset without a reason`);
    }
  }
}

function areInOrder(items: Item[]): boolean {
  const places = items.map(({ number, index }) => 2 * number + index);
  return places.every((place, i) => i === 0 || place > places[i - 1]!);
}

/** From when on resets may be told. */
function interruptedAt({ events }: Plan, history: SimulatedHistory): number {
  let away = 0;
  for (const event of events) {
    if (event.what === 'silence' || event.what === 'outage' || event.what === 'behind' || event.what === 'strand')
      away += event.ms + 1_500;
    if (event.what === 'crash') away += event.silentMs + 1_500;
  }
  return away > AWAY_MS ? 0 : history.interruptedAt;
}

const int = (min: number, max: number) => fc.integer({ min, max });
const at = int(0, BUSY_MS);
const ms = int(50, LONGEST_MS);
const gateway = int(0, 1);
const what = <Name extends Event['what']>(name: Name) => fc.constant(name);
const push = fc.record({ at, what: what('push'), room: fc.constantFrom(...ROOMS), items: int(1, 2) });
/** Pushes in one moment: a tail that a crash can take. */
const volley = fc
  .tuple(at, fc.array(fc.tuple(int(0, 30), fc.constantFrom(...ROOMS)), { minLength: 2, maxLength: 6 }))
  .map(([begins, rest]) => rest.map(([after, room]): Event => ({ at: begins + after, what: 'push', room, items: 1 })));
const faults: fc.Arbitrary<Event>[] = [
  fc.record({
    ...{ at, what: what('crash'), tail: int(1, 4), silentMs: fc.constantFrom(0, 500, 4_000), burstAfter: ms },
  }),
  fc.record({ at, what: what('burst'), count: int(1, 10) }),
  fc.record({ at, what: what('behind'), gateway, count: int(1, 5), ms: int(50, BEHIND_MS) }),
  fc.record({ at, what: what('strand'), gateway, ms: int(50, STRANDED_MS) }),
  fc.record({ at, what: what('silence'), ms }),
  fc.record({ at, what: what('outage'), gateway, ms }),
];
const clientFaults: fc.Arbitrary<Event>[] = [
  fc.record({ at, what: what('cut'), which: int(0, 3) }),
  fc.record({ at, what: what('move'), gateway }),
  fc.record({ at, what: what('page'), client: int(0, CLIENTS - 1) }),
  fc.record({ at, what: what('slow'), which: int(0, 3), ms, capacity: int(1, 4) }),
];
const LIMITED = fc.record({ messages: int(1, 6), maxAge: fc.constantFrom(3_600_000, 20_000) });
const another: fc.Arbitrary<Event>[] = [
  fc.record({ at, what: what('recreate'), ms: fc.constantFrom(0, 300, 3_000) }),
  fc.record({ at, what: what('rollBack'), count: int(1, 6) }),
  fc.record({ at, what: what('restart'), count: int(1, 6), ms }),
  fc.record({ at, what: what('unaware'), ms: int(50, UNAWARE_MS) }),
];
const UNLIMITED: fc.Arbitrary<Limits> = fc.constant({ messages: 1_000, maxAge: 3_600_000 });

function plans(events: fc.Arbitrary<Event>[], limits = UNLIMITED): fc.Arbitrary<Plan> {
  return fc.record({
    busDelays: fc.array(int(1, 50), { minLength: 2, maxLength: 2 }),
    latencies: fc.array(int(1, 150), { minLength: 1, maxLength: 3 }),
    random: int(1, 2_000_000_000),
    limits,
    events: fc
      .tuple(
        fc.array(push, { minLength: 3, maxLength: 20 }),
        fc.array(volley, { maxLength: 3 }).map((volleys) => volleys.flat()),
        fc.array(fc.oneof(...events), { minLength: 1, maxLength: 8 }),
      )
      .map((all) => all.flat()),
  });
}

/** Plays a schedule. Rejects if the clients were not told what they should. */
export async function holds(plan: Plan, mistake?: Mistake): Promise<void> {
  assertHolds(plan, await play(plan, mistake));
}

export const PLANS = {
  whole: plans([...faults, ...clientFaults]),
  replaced: plans([...faults, ...clientFaults, ...another], fc.oneof(UNLIMITED, LIMITED)),
  limited: plans([...faults, ...clientFaults], LIMITED),
  storeFaults: plans(faults),
  clientFaults: plans(clientFaults),
  another: plans(another),
};
