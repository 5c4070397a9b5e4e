import type { SimulatedClock, SimulatedNetwork, SimulatedSocket } from '@pushcluster/client/simulation.ts';
import { CloseCode } from '@pushcluster/protocol/closeCodes.ts';
import { encodePush, joinItems } from '@pushcluster/protocol/push.ts';
import type { Settings } from '@pushcluster/protocol/settings.ts';
import { Subjects } from '@pushcluster/protocol/subjects.ts';
import { Form } from '@pushcluster/protocol/wireForms.ts';
import {
  type Bus,
  type BusEvent,
  type BusMessage,
  BusUnavailable,
  BusUnconfirmed,
  type Handler,
  handlerOf,
  type Receiver,
  type Subscription,
} from '@pushcluster/runtime/bus/bus.ts';
import type { HistoryStore } from '@pushcluster/runtime/history/historyStore.ts';
import type { Logger } from '@pushcluster/runtime/log.ts';
import { Registry } from 'prom-client';
import type { Identity } from '../admission/identity.ts';
import { InvalidToken } from '../admission/tokens/tokenVerifier.ts';
import { ExceptionGuard } from '../hub/exceptionGuard.ts';
import { Hub } from '../hub/hub.ts';
import type { ShardHandle } from '../hub/shardHandle.ts';
import { SlicedWork } from '../hub/slicedWork.ts';
import type { HubMessage, ShardMessage } from '../ipc/messages.ts';
import { GatewayMetrics } from '../metrics/gatewayMetrics.ts';
import type { Connection } from '../shard/connection.ts';
import { DROPPED, SENT, type Socket } from '../shard/engine.ts';
import type { Loop } from '../shard/loop.ts';
import { Shard } from '../shard/shard.ts';
import { NO_READINGS } from './readings.ts';

/**
 * For tests: the real hubs and shards of several gateways in virtual time, on a simulated bus and network with delays
 * and failures that the test controls.
 */

const subjects = new Subjects('pushcluster');

/** What a socket answers if a frame waits in its buffer. */
const QUEUED = 0;

/** Milliseconds from a hub to its shard, and back. */
const LINK_MS = 1;

/** Of all simulated gateways, since nobody reads them and it takes long to make some. */
const METRICS = new GatewayMetrics(new Registry(), NO_READINGS);

type Subscriber = { subject: string; handler: Handler; known: boolean; ready: () => void };

/** One gateway's connection to the bus: whole, or away. */
export class SimulatedBus implements Bus {
  readonly maxPayload = 1_048_576;
  connected = true;
  readonly #clock: SimulatedClock;
  readonly #delay: number;
  readonly #publish: (subject: string, bytes: Uint8Array) => void;
  readonly #listeners = new Set<(event: BusEvent) => void>();
  readonly #subscribers = new Set<Subscriber>();
  #reconnects = 0;
  /** The number of the present connection: what was on its way on an earlier one is lost. */
  #generation = 0;

  /** @param delay milliseconds, one way */
  constructor(clock: SimulatedClock, delay: number, publish: (subject: string, bytes: Uint8Array) => void) {
    this.#clock = clock;
    this.#delay = delay;
    this.#publish = publish;
  }

  publish(subject: string, bytes: Uint8Array): void {
    if (!this.connected) throw new BusUnavailable('the bus is away');
    this.#travel(() => this.#publish(subject, bytes));
  }

  async flush(): Promise<void> {
    if (!this.connected) throw new BusUnconfirmed('the bus is away');
    const generation = this.#generation;
    await new Promise<void>((resolve) => this.#clock.after(2 * this.#delay, resolve));
    if (generation !== this.#generation) throw new BusUnconfirmed('the bus went away');
  }

  subscribe(subject: string, receiver: Handler | Receiver): Subscription {
    const handler = handlerOf(receiver);
    let ready = () => {};
    const isReady = new Promise<void>((resolve) => {
      ready = resolve;
    });
    const subscriber = { subject, handler, known: false, ready };
    this.#subscribers.add(subscriber);
    if (this.connected) this.#introduce(subscriber);
    const unsubscribe = () => {
      this.#subscribers.delete(subscriber);
      ready();
    };
    return { ready: isReady, unsubscribe };
  }

  onEvent(listener: (event: BusEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async close(): Promise<void> {
    this.cut();
  }

  /** The server has a message: it goes to the subscribers here that the server knows of. */
  deliver(subject: string, bytes: Uint8Array, message: BusMessage = {}): void {
    if (!this.connected) return;
    for (const subscriber of this.#subscribers)
      if (subscriber.known && subscriber.subject === subject)
        this.#travel(() => this.#subscribers.has(subscriber) && subscriber.handler(bytes, subject, message));
  }

  /** Asks the server. Rejects if the connection is lost meanwhile. */
  async ask<T>(answer: () => T | Promise<T>): Promise<T> {
    if (!this.connected) throw new BusUnavailable('the bus is away');
    const generation = this.#generation;
    const pass = () => new Promise<void>((resolve) => this.#clock.after(this.#delay, resolve));
    await pass();
    const answered = await answer();
    await pass();
    if (generation !== this.#generation) throw new BusUnconfirmed('the bus went away');
    return answered;
  }

  cut(): void {
    if (!this.connected) return;
    this.connected = false;
    this.#generation++;
    for (const subscriber of this.#subscribers) subscriber.known = false;
    for (const listener of this.#listeners) listener({ type: 'disconnected', reason: 'cut' });
  }

  mend(): void {
    if (this.connected) return;
    this.connected = true;
    const reconnects = ++this.#reconnects;
    for (const subscriber of this.#subscribers) this.#introduce(subscriber);
    this.#travel(() =>
      this.#travel(() => {
        for (const listener of this.#listeners) listener({ type: 'connected', reconnects });
      }),
    );
  }

  #introduce(subscriber: Subscriber) {
    this.#travel(() => {
      subscriber.known = true;
      this.#travel(subscriber.ready);
    });
  }

  #travel(run: () => void) {
    const generation = this.#generation;
    this.#clock.after(this.#delay, () => {
      if (generation === this.#generation) run();
    });
  }
}

/** The network of one connection: what is sent arrives later, in order, until either side has closed it. */
class Wire implements Socket {
  connection: Connection | undefined;
  /** The peer reads nothing: beyond so many frames, what is sent to it is dropped. Undefined: it reads. */
  #capacity: number | undefined;
  #queued: string[] = [];
  over = false;
  readonly gateway: SimulatedGateway;
  readonly #clock: SimulatedClock;
  readonly #socket: SimulatedSocket;
  readonly #latency: number;

  constructor(clock: SimulatedClock, socket: SimulatedSocket, gateway: SimulatedGateway, latency: number) {
    this.#clock = clock;
    this.#socket = socket;
    this.gateway = gateway;
    this.#latency = latency;
  }

  travel(run: () => void): void {
    this.#clock.after(this.#latency, run);
  }

  send(message: string | Uint8Array | ArrayBuffer): number {
    if (this.over) throw new Error('Invalid access of closed uWS.WebSocket');
    if (this.#capacity !== undefined && this.#queued.length >= this.#capacity) return DROPPED;
    const text = typeof message === 'string' ? message : new TextDecoder().decode(message);
    if (this.#capacity !== undefined) {
      this.#queued.push(text);
      return QUEUED;
    }
    this.travel(() => this.#socket.say(text));
    return SENT;
  }

  /** The peer stops reading. @param capacity frames that the buffer holds */
  stop(capacity: number): void {
    this.#capacity = capacity;
  }

  /** The peer reads what waits for it, and goes on reading. */
  read(): void {
    this.#capacity = undefined;
    for (const text of this.#queued.splice(0)) this.travel(() => this.#socket.say(text));
    if (this.connection && !this.over) this.gateway.shardOf(this).drained(this.connection);
  }

  end(code: number = CloseCode.goingAway, reason = ''): void {
    this.over = true;
    this.travel(() => this.#socket.end(code, reason));
    if (this.connection) this.gateway.shardOf(this).closed(this.connection, code);
  }

  close(): void {
    this.end();
  }

  getBufferedAmount(): number {
    return this.#queued.length;
  }
}

/** One gateway: a hub, two shards, and what opens connections on them. */
export class SimulatedGateway {
  readonly bus: SimulatedBus;
  readonly hub: Hub;
  readonly shards: readonly Shard[];
  readonly name: string;
  readonly #wires = new Map<Wire, Shard>();

  constructor(name: string, clock: SimulatedClock, bus: SimulatedBus, plan: ClusterPlan, skew: number) {
    const { settings, log } = plan;
    this.name = name;
    this.bus = bus;
    const soon = (run: () => void) => void clock.after(0, run);
    const guard = new ExceptionGuard(log, (place) => {
      throw new Error(`an error at ${place}`);
    });
    this.hub = new Hub({
      gateway: name,
      bus,
      history: plan.historyOf?.(bus),
      settings,
      clock: { now: () => clock.now(), wall: () => clock.now() + skew, after: (ms, run) => clock.after(ms, run), soon },
      log,
      metrics: METRICS,
      guard,
      work: new SlicedWork({
        clock: { now: () => clock.now(), soon },
        failed: (error) => guard.caught('timer', error),
      }),
      cores: 2,
      gateways: () => 1,
    });
    const loop: Loop = {
      now: () => clock.now(),
      soon,
      after: (ms, run) => clock.after(ms, run),
    };
    const handles = [0, 1].map((index) => {
      const say = (message: ShardMessage) => clock.after(LINK_MS, () => this.hub.receive(handle, message));
      const shard = new Shard(settings, log, say, loop);
      shard.verifier = { verifyNow: identityOf, verify: async (token) => identityOf(token), close() {} };
      const handle = new SimulatedShard(clock, index, shard);
      return handle;
    });
    this.shards = handles.map(({ shard }) => shard);
    this.hub.attach(handles);
    if (!plan.historyOf) return;
    const tick = () => {
      for (const shard of this.shards) shard.expire(Math.floor(clock.now() / 1_000));
      clock.after(1_000, tick);
    };
    tick();
  }

  open(wire: Wire, token: string | null): Connection {
    const shard = this.shards[this.#wires.size % this.shards.length]!;
    this.#wires.set(wire, shard);
    return shard.open(wire, Form.v1, token === null ? { expires: 0 } : identityOf(token), undefined);
  }

  shardOf(wire: Wire): Shard {
    return this.#wires.get(wire)!;
  }
}

/** A shard of the same process, as the hub sees it. */
class SimulatedShard implements ShardHandle {
  readonly index: number;
  readonly listening = true;
  readonly counts = undefined;
  readonly shard: Shard;
  readonly #clock: SimulatedClock;

  constructor(clock: SimulatedClock, index: number, shard: Shard) {
    this.#clock = clock;
    this.index = index;
    this.shard = shard;
  }

  configure(settings: Settings): void {
    this.shard.settings = settings;
  }

  send(message: HubMessage): void {
    this.#clock.after(LINK_MS, () => {
      if (!this.shard.handle(message)) throw new Error(`a simulated shard is not told ${message.type}`);
    });
  }

  sendFrames: ShardHandle['sendFrames'] = (key, items, ages, frames, place) => {
    const message = { key, items, ages: [...ages], frames: [...frames], place, size: 0 };
    this.#clock.after(LINK_MS, () => this.shard.frame(message));
  };

  sendMissed: ShardHandle['sendMissed'] = (key, items, reason) => this.send({ type: 'missed', key, items, reason });

  readonly isFull = false;

  sendResumed: ShardHandle['sendResumed'] = (key, ask, answer) =>
    this.send({ type: 'resumed', key, ask, answer, size: 0 });
}

export type ClusterPlan = {
  /** One for each gateway: milliseconds to the bus. */
  busDelays: readonly number[];
  /** Milliseconds, one way, of the n-th connection. */
  latencies: readonly number[];
  settings: Settings;
  log: Logger;
  /** Milliseconds by which each gateway's wall clock is ahead. */
  skews?: readonly number[];
  /** Where a gateway with this connection to the bus reads the histories of rooms; absent: no room has one. */
  historyOf?: (bus: SimulatedBus) => HistoryStore;
};

/** Gateways on one bus, and clients' connections to them. */
export class SimulatedCluster {
  readonly gateways: readonly SimulatedGateway[];
  readonly #clock: SimulatedClock;
  readonly #wires = new Map<SimulatedSocket, Wire>();
  readonly #counters = new Map<string, number>();
  /** The gateway to which the next connection goes; round robin if undefined. */
  next: number | undefined;
  /** Whether the next connection fails. */
  refusing = false;

  constructor(clock: SimulatedClock, network: SimulatedNetwork, plan: ClusterPlan) {
    this.#clock = clock;
    this.gateways = plan.busDelays.map((delay, i) => {
      const bus = new SimulatedBus(clock, delay, (subject, bytes) => this.#broadcast(subject, bytes));
      return new SimulatedGateway(`g${i}`, clock, bus, plan, plan.skews?.[i] ?? 0);
    });
    network.onOpen = (socket) => this.#accept(socket, plan.latencies[this.#wires.size % plan.latencies.length]!);
    network.onSend = (socket, frame) => {
      const wire = this.#wires.get(socket);
      const text = JSON.stringify(frame);
      wire?.travel(() => {
        if (wire.over || !wire.connection) return;
        const second = Math.floor(this.#clock.now() / 1_000);
        wire.gateway.shardOf(wire).received(wire.connection, text, text.length, second);
      });
    };
    network.onClose = (socket) => {
      const wire = this.#wires.get(socket);
      wire?.travel(() => this.#gone(wire, 1000));
    };
  }

  /** Connections as the gateways have them. */
  get wires(): Wire[] {
    return [...this.#wires.values()].filter(({ connection, over }) => connection && !over);
  }

  /** A push of items `{ p, n }` to a room, numbered from 1 for each publisher and room. Answers the last number. */
  push(publisher: string, room: string, count: number): number {
    const place = `${publisher} ${room}`;
    const first = (this.#counters.get(place) ?? 0) + 1;
    const last = first + count - 1;
    this.#counters.set(place, last);
    const texts = Array.from({ length: count }, (_, i) => JSON.stringify({ p: publisher, n: first + i }));
    const items = joinItems(texts.map((text) => Buffer.from(text)));
    const header = {
      publisher,
      counter: first,
      at: this.#clock.now(),
      begun: 0,
      beat: 0,
      mark: first,
      first: 0,
      urgent: false,
      id: '',
    };
    this.#broadcast(subjects.room(room), encodePush({ ...header, items }));
    return last;
  }

  /** Publishes a command of the API to all gateways. */
  command(command: object): void {
    this.#broadcast(subjects.command, Buffer.from(JSON.stringify(command)));
  }

  /** A connection breaks, and both sides see it. */
  cut(wire: Wire): void {
    const [socket] = [...this.#wires].find(([, other]) => other === wire)!;
    this.#gone(wire, 1006);
    socket.end(1006);
  }

  #broadcast(subject: string, bytes: Uint8Array) {
    for (const { bus } of this.gateways) bus.deliver(subject, bytes);
  }

  #accept(socket: SimulatedSocket, latency: number) {
    const gateway = this.gateways[(this.next ?? this.#wires.size) % this.gateways.length]!;
    const wire = new Wire(this.#clock, socket, gateway, latency);
    this.#wires.set(socket, wire);
    const { refusing } = this;
    wire.travel(() => {
      if (wire.over) return;
      if (refusing) {
        wire.end(1006);
        return;
      }
      wire.travel(() => socket.accept());
      wire.connection = gateway.open(wire, socket.url.searchParams.get('token'));
    });
  }

  #gone(wire: Wire, code: number) {
    if (wire.over) return;
    wire.over = true;
    if (wire.connection) wire.gateway.shardOf(wire).closed(wire.connection, code);
  }
}

/** What an unsigned JWT claims. */
function identityOf(token: string): Identity {
  const claims = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString());
  if (claims.bad) throw new InvalidToken('bad');
  return { user: claims.sub, rooms: claims.rooms, expires: claims.exp ?? 0 };
}
