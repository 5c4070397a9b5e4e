import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { bundle } from './bundle.ts';
import { PushClient } from './pushClient.ts';
import { type SentFrame, SimulatedClock, SimulatedNetwork, type SimulatedSocket } from './simulation.ts';
import type { Room, RoomPosition } from './stream.ts';

/**
 * The promise of rooms with history, held against chance: gateways that learn of pushes at times of their own and merge
 * them, connections that are lost, moves, frames that a gateway forgets, new pages, histories that are made anew and that
 * no longer reach back. What a room is told between two resets is its history, whole and in order.
 */

type Item = { epoch: string; seq: number; n: number };
type Push = { epoch: string; seq: number; prev: number; items: Item[] };

/** What all gateways read. */
class Store {
  epoch = 'e0';
  readonly everything: Push[] = [];
  readonly #limit: number;
  #epochs = 0;
  #seq = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Pushes of this epoch, those that were evicted too. */
  get pushes(): Push[] {
    return this.everything.filter(({ epoch }) => epoch === this.epoch);
  }

  append(count: number, otherRooms: number): Push {
    const prev = this.pushes.at(-1)?.seq ?? 0;
    this.#seq += 1 + otherRooms;
    const { epoch } = this;
    const items = Array.from({ length: count }, (_, n) => ({ epoch, seq: this.#seq, n }));
    const push = { epoch, seq: this.#seq, prev, items };
    this.everything.push(push);
    return push;
  }

  /** Whether all that follows `seq` is still there. */
  reachesBackTo(seq: number): boolean {
    return (this.pushes.slice(0, -this.#limit).at(-1)?.seq ?? 0) <= seq;
  }

  retained(): Push[] {
    return this.pushes.slice(-this.#limit);
  }

  makeAnew() {
    this.epoch = `e${++this.#epochs}`;
    this.#seq = 0;
  }
}

class Gateway {
  readonly members = new Set<Wire>();
  readonly #clock: SimulatedClock;
  readonly #store: Store;
  readonly #plan: GatewayPlan;
  #waiting: Push[] = [];
  #epoch = 'e0';
  #flushed = 0;
  #last = 0;
  #timer = false;

  constructor(clock: SimulatedClock, store: Store, plan: GatewayPlan) {
    this.#clock = clock;
    this.#store = store;
    this.#plan = plan;
  }

  learn(push: Push) {
    this.#clock.after(this.#plan.busDelay, () => {
      if (push.epoch !== this.#store.epoch) return;
      this.#waiting.push(push);
      if (this.#timer) return;
      this.#timer = true;
      this.#clock.after(this.#last + this.#plan.maxDelay - this.#clock.now(), () => this.#flush());
    });
  }

  /** The history was made anew: this gateway says so to those that are there, or lets the next frame say it. */
  reset(isTold: boolean) {
    this.#waiting = [];
    this.#epoch = this.#store.epoch;
    this.#flushed = 0;
    if (!isTold) return;
    for (const wire of this.members) wire.say({ type: 'RESET', data: { room: 'r', epoch: this.#epoch, seq: 0 } });
  }

  join(wire: Wire, id: number, { since, last }: { since?: RoomPosition; last?: number }) {
    const seq = this.#flushed;
    const epoch = this.#epoch;
    const taken = this.#store.retained().filter((push) => push.seq <= seq);
    const recovered = since && since.epoch === epoch && this.#store.reachesBackTo(since.seq);
    const missed = recovered ? taken.filter((push) => push.seq > since.seq) : last && !since ? taken.slice(-last) : [];
    const said = since || last ? { recovered: Boolean(recovered || !since) } : {};
    wire.say({ type: 'OK', id, data: { room: 'r', epoch, seq, ...said } });
    for (let at = 0; at < missed.length; at += this.#plan.piece)
      wire.say(this.#frameOf(missed.slice(at, at + this.#plan.piece)));
    this.members.add(wire);
  }

  #flush() {
    this.#timer = false;
    this.#last = this.#clock.now();
    const pushes = this.#waiting.splice(0);
    if (pushes.length === 0) return;
    this.#flushed = pushes.at(-1)!.seq;
    for (const wire of this.members) {
      if (wire.forgets) wire.forgets = false;
      else wire.say(this.#frameOf(pushes));
    }
  }

  /** What was evicted can't be named as the one before. */
  #frameOf(pushes: Push[]) {
    const { epoch, seq } = pushes.at(-1)!;
    const before = pushes[0]!.prev;
    const prev = this.#store.retained().some((push) => push.seq === before) ? before : 0;
    return { type: 'PUSH', data: { room: 'r', epoch, seq, prev, items: pushes.flatMap(({ items }) => items) } };
  }
}

/** A connection: what is said arrives later, in order. */
class Wire {
  /** The gateway's next frame does not come: a fault of its own. */
  forgets = false;
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

  get isOpen(): boolean {
    return this.socket.onmessage !== null && this.socket.closedWith === undefined;
  }

  travel(run: () => void) {
    this.#clock.after(this.#latency, run);
  }

  say(frame: object) {
    this.travel(() => this.socket.say(frame));
  }

  /** What is on its way may be lost. */
  end(code: number, isAbrupt: boolean) {
    this.gateway.members.delete(this);
    if (isAbrupt) this.socket.end(code);
    else this.travel(() => this.socket.end(code));
  }

  heard({ type, id, data }: SentFrame) {
    this.travel(() => {
      if (type === 'JOIN') this.gateway.join(this, id!, data);
      if (type === 'LEAVE') this.gateway.members.delete(this);
      if (type === 'PING') this.say({ type: 'PONG', data: {} });
      if (type === 'LEAVE') this.say({ type: 'OK', id, data: {} });
    });
  }
}

type GatewayPlan = { busDelay: number; maxDelay: number; piece: number };
type Event =
  | { at: number; what: 'push'; count: number; otherRooms: number }
  | { at: number; what: 'end'; code: number; isAbrupt: boolean }
  | { at: number; what: 'move'; withinMs: number }
  | { at: number; what: 'forget' }
  | { at: number; what: 'page' }
  | { at: number; what: 'anew'; isTold: boolean };
type Plan = {
  gateways: GatewayPlan[];
  latencies: number[];
  limit: number;
  last: number;
  /** Pages find the position of the former in a storage; otherwise they pass it. */
  stores: boolean;
  events: Event[];
};

async function play(plan: Plan, Client = PushClient) {
  const clock = new SimulatedClock();
  const network = new SimulatedNetwork();
  const store = new Store(plan.limit);
  const gateways = plan.gateways.map((gateway) => new Gateway(clock, store, gateway));
  const wires = new Map<SimulatedSocket, Wire>();
  network.onOpen = (socket) => {
    const gateway = gateways[wires.size % gateways.length]!;
    const wire = new Wire(clock, socket, gateway, plan.latencies[wires.size % plan.latencies.length]!);
    wires.set(socket, wire);
    wire.travel(() => wire.travel(() => socket.accept()));
  };
  network.onSend = (socket, frame) => wires.get(socket)?.heard(frame);
  network.onClose = (socket) => {
    const wire = wires.get(socket)!;
    wire.travel(() => wire.gateway.members.delete(wire));
  };

  /** What the room was told, since each reset. */
  const told: Item[][] = [[]];
  const resets: string[] = [];
  let resumes = 0;
  let kept: string | undefined;
  const open = (since?: RoomPosition): { push: PushClient; room: Room<Item> } => {
    const push = new Client('ws://gateway/connect', { WebSocket: network.WebSocket, clock, random: () => 0.5 });
    const keeping = {
      getItem: () => kept,
      setItem(_: string, text: string) {
        kept = text;
      },
    };
    const storage = plan.stores ? keeping : null;
    const room = push.join<Item>('r', { since: storage ? undefined : since, last: plan.last || undefined, storage });
    room.on('item', (item) => {
      told.at(-1)!.push(item);
      assert.ok(room.position && room.position.epoch === item.epoch && room.position.seq >= item.seq);
    });
    room.on('reset', ({ reason }) => {
      resets.push(reason);
      told.push([]);
    });
    room.on('resumed', () => resumes++);
    return { push, room };
  };
  let page = open();
  const act = (event: Event) => {
    const serving = [...wires.values()].filter((wire) => wire.isOpen);
    switch (event.what) {
      case 'push': {
        const push = store.append(event.count, event.otherRooms);
        for (const gateway of gateways) gateway.learn(push);
        return;
      }
      case 'end':
        return serving.at(-1)?.end(event.code, event.isAbrupt);
      case 'move':
        serving[0]?.say({ type: 'RECONNECT', data: { withinMs: event.withinMs } });
        return;
      case 'forget':
        for (const wire of serving) wire.forgets = true;
        return;
      case 'page': {
        const position = page.room.position && JSON.parse(JSON.stringify(page.room.position));
        page.push.close();
        // A room that has no position yet begins anew.
        if (!position) told.push([]);
        page = open(position);
        return;
      }
      case 'anew':
        store.makeAnew();
        for (const gateway of gateways) gateway.reset(event.isTold);
    }
  };
  clock.after(1_000, () => {});
  await clock.advance(2_000);
  for (const event of plan.events) clock.after(event.at, () => act(event));
  await clock.advance(120_000);
  // What comes last shows what came before it.
  for (let i = 0; i < 3; i++) {
    act({ at: 0, what: 'push', count: 1, otherRooms: 0 });
    await clock.advance(60_000);
  }
  const { state } = page.push;
  page.push.close();
  return { store, told, resets, resumes, state, sockets: wires.size };
}

const millis = (max: number) => fc.integer({ min: 0, max });
const at = millis(60_000);
const pushes = fc.record({
  at,
  what: fc.constant('push' as const),
  count: fc.integer({ min: 1, max: 3 }),
  otherRooms: fc.integer({ min: 0, max: 3 }),
});
const faults: fc.Arbitrary<Event> = fc.oneof(
  fc.record({
    at,
    what: fc.constant('end' as const),
    code: fc.constantFrom(1006, 1012, 4003),
    isAbrupt: fc.boolean(),
  }),
  fc.record({ at, what: fc.constant('move' as const), withinMs: fc.constantFrom(4_000, 16_000) }),
  fc.record({ at, what: fc.constant('forget' as const) }),
  fc.record({ at, what: fc.constant('page' as const) }),
);
const anew = fc.record({ at, what: fc.constant('anew' as const), isTold: fc.boolean() });

function plans(limit: fc.Arbitrary<number>, more: fc.Arbitrary<Event>): fc.Arbitrary<Plan> {
  return fc.record({
    gateways: fc.array(
      fc.record({ busDelay: millis(300), maxDelay: millis(1_000), piece: fc.integer({ min: 1, max: 4 }) }),
      { minLength: 1, maxLength: 3 },
    ),
    latencies: fc.array(millis(200), { minLength: 1, maxLength: 5 }),
    limit,
    last: fc.constantFrom(0, 0, 1, 5, 1_000),
    stores: fc.boolean(),
    events: fc
      .tuple(
        fc.array(pushes, { minLength: 30, maxLength: 120 }),
        fc.array(fc.oneof(faults, more), { minLength: 1, maxLength: 12 }),
      )
      .map(([pushed, failed]) => [...pushed, ...failed]),
  });
}

/** Each part is a part of the history, with no hole, nothing twice and no seq in pieces. */
function assertWhole(store: Store, told: Item[][]) {
  for (const part of told) {
    const [first] = part;
    if (!first) continue;
    const history = store.everything.filter(({ epoch }) => epoch === first.epoch).flatMap(({ items }) => items);
    const from = history.findIndex(({ seq }) => seq === first.seq);
    assert.deepEqual(part, history.slice(from, from + part.length));
    assert.notEqual(history[from + part.length]?.seq, part.at(-1)!.seq);
  }
}

const built = await import(`data:text/javascript,${encodeURIComponent(await bundle())}`);

test('where the history reaches back, every item comes once and in order, whatever ends', async () => {
  let all = 0;
  await fc.assert(
    fc.asyncProperty(plans(fc.constant(1_000), faults), fc.boolean(), async (plan, isBuilt) => {
      const { store, told, resets, resumes, state } = await play(plan, isBuilt ? built.PushClient : PushClient);
      all += resumes;
      assert.equal(state, 'open');
      assert.deepEqual(resets, []);
      assertWhole(store, told);
      assert.deepEqual(told.at(-1)!.at(-1), store.everything.at(-1)!.items.at(-1));
    }),
    { numRuns: 300 },
  );
  assert.ok(all > 300, `only ${all} resumes`);
});

test('where it does not, or is made anew, what comes between two resets is whole', async () => {
  let all = 0;
  await fc.assert(
    fc.asyncProperty(plans(fc.integer({ min: 1, max: 8 }), anew), async (plan) => {
      const { store, told, resets, state } = await play(plan);
      all += resets.length;
      assert.equal(state, 'open');
      assertWhole(store, told);
      assert.deepEqual(told.at(-1)!.at(-1), store.everything.at(-1)!.items.at(-1));
    }),
    { numRuns: 300 },
  );
  assert.ok(all > 100, `only ${all} resets`);
});
