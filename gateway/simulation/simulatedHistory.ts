import { Subjects } from '@pushcluster/protocol/subjects.ts';
import { BusUnavailable, BusUnconfirmed } from '@pushcluster/runtime/bus/bus.ts';
import {
  DUPLICATE_WINDOW_MS,
  type Extract,
  type Heads,
  HistoryMissing,
  type HistoryStore,
  STORED_HEADERS,
  type StoredAt,
  type StreamState,
} from '@pushcluster/runtime/history/historyStore.ts';
import type { SimulatedBus } from './cluster.ts';

/**
 * For tests: a model of a JetStream stream, with the faults that were seen of one. A push is stored, then delivered once at
 * most: a leader that crashes takes deliveries with it, and one that comes back delivers late and again. Servers may be
 * behind the leader or silent; limits remove pushes; the stream is made anew, or set back.
 */

const subjects = new Subjects('pushcluster');
const STREAM = 'simulated';
/** Milliseconds after which a question without an answer fails. */
const TIMEOUT_MS = 1_500;
/** Milliseconds after which a push without an answer may or may not have been stored. */
const APPEND_TIMEOUT_MS = 2_000;
/** Milliseconds for which gateways take an answer for one of a former leader. NatsHistory's. */
const FORMER_MS = 4_000;
/** Deliveries that a leader which comes back may repeat. */
const KEPT_DELIVERIES = 20;

/** `number`: of all pushes, in the order in which they were stored first. */
export type SimulatedPush = { number: number; room: string; seq: number; at: number; bytes: Uint8Array };
type Line = { epoch: string; pushes: SimulatedPush[] };
/** What a server knows: a history up to a number. */
type View = { line: Line; last: number };
type Delivery = { subject: string; bytes: Uint8Array; headers: Record<string, string> };
type Clock = { now(): number; after(ms: number, run: () => void): () => void };

export type Limits = { messages: number; maxAge: number };
/** What is broken on purpose, so that a test can show that it would notice. */
export type Sabotage =
  /** Nobody notices what was not delivered. */
  | 'repair'
  /** The stream that is made anew has the epoch of the old one. */
  | 'epoch'
  /** A push is stored again that was stored before. */
  | 'deduplication';

export class SimulatedHistory {
  /** What each stream has held, those included that were made anew or set back since. The last one is the present one. */
  readonly lines: Line[] = [{ epoch: 'e0', pushes: [] }];
  /** Since when something has happened that may cost members their place. */
  interruptedAt = Number.POSITIVE_INFINITY;
  /** When the stream was made anew or set back. */
  readonly replacedAt: number[] = [];
  /** By epoch, the largest number that was given: what a gateway knows that has followed it all. */
  readonly reached = new Map<string, number>();
  readonly #clock: Clock;
  readonly #limits: Limits;
  readonly #sabotage: Sabotage | undefined;
  readonly #buses = new Set<SimulatedBus>();
  /** By gateway, the number of last pushes that the server lacks which answers it. */
  readonly #behind = new Map<SimulatedBus, number>();
  /** By gateway, what a server knew that still takes itself for the leader, and answers it. */
  readonly #former = new Map<SimulatedBus, View>();
  #silentUntil = 0;
  #missing = false;
  /** The present stream was made anew, and has been no other history since. */
  #isAnew = false;
  /** Until when the leader takes the history for the one that it was before. */
  #unawareUntil = 0;
  /** The next so many deliveries are lost. */
  #losing = 0;
  /** So many pushes of logic are yet to be stored without an answer. */
  #withheld = 0;
  #leaderlessUntil = 0;
  /** Where pushes of logic were stored, by id. */
  #ids = new Map<string, { seq: number; at: number }>();
  /** Attempts of logic to store a push, and questions where it is, that had no answer. */
  unanswered = 0;
  readonly #deliveries: Delivery[] = [];
  #last = 0;
  /** The largest number that logic has been told of in this epoch. */
  #acknowledged = 0;
  #epochs = 0;

  constructor(clock: Clock, limits: Limits, sabotage?: Sabotage) {
    this.#clock = clock;
    this.#limits = limits;
    this.#sabotage = sabotage;
  }

  get epoch(): string {
    return this.#line.epoch;
  }

  /** Number of the last push of any room. */
  get last(): number {
    return this.#last;
  }

  /** The store as the gateway with this connection sees it. */
  storeOf(bus: SimulatedBus): HistoryStore {
    this.#buses.add(bus);
    const never = () => Promise.reject(new Error('a gateway only reads'));
    return {
      formerMs: FORMER_MS,
      ensure: never,
      retire: never,
      append: never,
      renew: never,
      state: () => this.#ask(bus, () => this.#told(this.#state(this.#leaderOf(bus)))),
      read: (_, room, from, limit, fresh = false) => this.#ask(bus, () => this.#read(bus, room, from, limit, fresh)),
      at: (_, seq) => this.#ask(bus, () => this.#at(this.#leaderOf(bus), seq)),
      heads: (_, rooms, after) => this.#ask(bus, () => this.#heads(bus, rooms, after)),
      streamOf: () => STREAM,
      close() {},
    };
  }

  /** The store as the logic pod with this connection sees it. @param numberOf the number of a push */
  logicStoreOf(bus: SimulatedBus, numberOf: (bytes: Uint8Array) => number): HistoryStore {
    const store = this.storeOf(bus);
    return {
      ...store,
      state: async (match) => {
        try {
          return await store.state(match);
        } catch (error) {
          this.unanswered++;
          throw error;
        }
      },
      ensure: () =>
        bus.ask(() => {
          this.#missing = false;
        }),
      append: (_, room, bytes, id) => this.#appendFor(bus, numberOf(bytes), room, bytes, id),
      renew: (_, epoch, known) =>
        this.#ask(bus, () => {
          // It follows on what the leader takes the history for, which knows better once it has made the change.
          if (this.#told(this.#state(this.#leader)).epoch !== epoch) return;
          const next = `${epoch}+${known}`;
          this.#unawareUntil = 0;
          if (this.epoch !== next) this.#begin([...this.#line.pushes], next);
        }),
    };
  }

  /** Nobody stores a push for `ms`, and says so: there is no leader. */
  depose(ms: number): void {
    this.#leaderlessUntil = Math.max(this.#leaderlessUntil, this.#clock.now() + ms);
  }

  /** Logic stores a push, unless there is no stream. */
  append(number: number, room: string, bytes: Uint8Array): void {
    if (this.#missing) return;
    const seq = this.#store(number, room, bytes);
    // Logic was told a number that it had before: the stream was set back.
    if (seq <= this.#acknowledged) this.#begin([...this.#line.pushes]);
    this.#acknowledged = seq;
  }

  #store(number: number, room: string, bytes: Uint8Array): number {
    const previous = this.#retained(this.#leader, room).at(-1)?.seq ?? 0;
    const seq = ++this.#last;
    this.#line.pushes.push({ number, room, seq, at: this.#clock.now(), bytes });
    this.#reach();
    const told = this.#sabotage === 'repair' ? 1 : previous;
    const headers = {
      [STORED_HEADERS.stream]: STREAM,
      [STORED_HEADERS.seq]: String(seq),
      [STORED_HEADERS.previous]: String(told),
    };
    const delivery = { subject: subjects.room(room), bytes, headers };
    this.#deliveries.push(delivery);
    if (this.#deliveries.length > KEPT_DELIVERIES) this.#deliveries.shift();
    if (this.#losing > 0) this.#losing--;
    else this.#deliver(delivery);
    // Of a room that is full nobody knows what limits have removed.
    if (this.#retained(this.#leader, room).length >= this.#limits.messages) this.interrupted();
    return seq;
  }

  /** The leader crashes: what is stored in the last moment is not delivered. @param tail so many pushes */
  crash(tail: number): void {
    this.#losing = tail;
    this.#withheld = tail;
  }

  /** A former leader delivers what it had queued, or again. */
  burst(count: number): void {
    for (const delivery of this.#deliveries.slice(-count)) this.#deliver(delivery);
  }

  /** The server that answers a gateway lacks the last `count` pushes of this moment for `ms`. */
  fallBehind(bus: SimulatedBus, count: number, ms: number): void {
    const reached = Math.max(0, this.#last - count);
    this.#behind.set(bus, reached);
    this.#clock.after(ms, () => {
      if (this.#behind.get(bus) === reached) this.#behind.delete(bus);
    });
  }

  /** What this gateway reaches of the store is a former leader, for `ms`: cut off from the others, with what it knew. */
  strand(bus: SimulatedBus, ms: number): void {
    const view = this.#leaderOf(bus);
    this.#former.set(bus, view);
    this.#clock.after(ms, () => {
      if (this.#former.get(bus) === view) this.#former.delete(bus);
    });
  }

  /** A server that has restarted leads for `ms` before it learns that the stream became another history. */
  unaware(ms: number): void {
    this.#unawareUntil = Math.max(this.#unawareUntil, this.#clock.now() + ms);
  }

  /** Nobody is answered for `ms`. */
  silence(ms: number): void {
    this.#silentUntil = Math.max(this.#silentUntil, this.#clock.now() + ms);
  }

  /** The stream is deleted, and after `ms` made anew. */
  recreate(ms: number): void {
    this.replacedAt.push(this.#clock.now());
    this.interrupted();
    this.#last = 0;
    this.#ids.clear();
    this.#deliveries.length = 0;
    this.#begin([], this.#sabotage === 'epoch' ? this.epoch : undefined, true);
    this.#missing = true;
    this.#clock.after(ms, () => {
      this.#missing = false;
    });
  }

  /**
   * The last `count` pushes are gone, as after a loss of power.
   * @param isSeen all gateways were cut off meanwhile: they know that they must look
   */
  rollBack(count: number, isSeen = false): void {
    if (!isSeen) this.replacedAt.push(this.#clock.now());
    this.interrupted();
    this.#last = Math.max(0, this.#last - count);
    for (const [id, { seq }] of this.#ids) if (seq > this.#last) this.#ids.delete(id);
    const { epoch, pushes } = this.#line;
    this.lines.push({ epoch, pushes: pushes.filter(({ seq }) => seq <= this.#last) });
    this.#deliveries.length = 0;
    this.#behind.clear();
    // All servers have restarted.
    if (isSeen) this.#former.clear();
  }

  /** From now on members may be told that they lost their place. */
  interrupted(): void {
    this.interruptedAt = Math.min(this.interruptedAt, this.#clock.now());
  }

  get #leader(): View {
    return { line: this.#line, last: this.#last };
  }

  #leaderOf(bus: SimulatedBus): View {
    return this.#former.get(bus) ?? this.#leader;
  }

  /** What the server knows that answers this gateway. */
  #serverOf(bus: SimulatedBus): View {
    const { line, last } = this.#leaderOf(bus);
    return { line, last: Math.min(last, this.#behind.get(bus) ?? last) };
  }

  get #line() {
    return this.lines.at(-1)!;
  }

  /** What the same stream was before it last became another history. */
  get #precursor(): Line | undefined {
    return this.#isAnew ? undefined : this.lines.findLast(({ epoch }) => epoch !== this.epoch);
  }

  #begin(pushes: SimulatedPush[], epoch = `e${++this.#epochs}`, isAnew = false) {
    this.lines.push({ epoch, pushes });
    this.#isAnew = isAnew;
    this.#acknowledged = 0;
    this.#behind.clear();
    // Whoever leads it now has made the change.
    this.#unawareUntil = 0;
    this.#reach();
  }

  #reach() {
    this.reached.set(this.epoch, Math.max(this.#last, this.reached.get(this.epoch) ?? 0));
  }

  #deliver({ subject, bytes, headers }: Delivery) {
    const message = {
      headers: {
        get: (name: string) => headers[name] ?? '',
        has: (name: string) => name in headers,
        code: 0,
        description: '',
      },
    };
    for (const bus of this.#buses) if (!this.#former.has(bus)) bus.deliver(subject, bytes, message);
  }

  #ask<T>(bus: SimulatedBus, answer: () => T): Promise<T> {
    return bus.ask(async () => {
      if (this.#clock.now() < this.#silentUntil) {
        await new Promise<void>((resolve) => this.#clock.after(TIMEOUT_MS, resolve));
        throw new BusUnconfirmed('no answer');
      }
      if (this.#missing) throw new HistoryMissing('the stream was deleted');
      return answer();
    });
  }

  async #appendFor(bus: SimulatedBus, number: number, room: string, bytes: Uint8Array, id: string): Promise<StoredAt> {
    try {
      return await bus.ask(async () => {
        const now = this.#clock.now();
        const store = () => this.#appendOnce(number, room, bytes, id);
        if (this.#missing || now < this.#leaderlessUntil) throw new BusUnavailable('no responders');
        const isSilent = now < this.#silentUntil;
        if (!isSilent && this.#withheld === 0) return store();
        // A leader that stands still may have it in its queue, or not; one that crashes has stored it.
        if (!isSilent) {
          this.#withheld--;
          store();
        } else if (Math.random() < 0.5) this.#clock.after(this.#silentUntil - now, () => this.#missing || store());
        await new Promise<void>((resolve) => this.#clock.after(APPEND_TIMEOUT_MS, resolve));
        throw new BusUnconfirmed('no answer');
      });
    } catch (error) {
      if (error instanceof BusUnconfirmed) this.unanswered++;
      throw error;
    }
  }

  #appendOnce(number: number, room: string, bytes: Uint8Array, id: string): StoredAt {
    const known = this.#ids.get(id);
    const isKnown = known && this.#clock.now() - known.at < DUPLICATE_WINDOW_MS;
    if (isKnown && this.#sabotage !== 'deduplication') return { seq: known.seq, duplicate: true };
    this.#store(number, room, bytes);
    this.#ids.set(id, { seq: this.#last, at: this.#clock.now() });
    return { seq: this.#last, duplicate: false };
  }

  #state({ line: { epoch }, last }: View): StreamState {
    return { epoch, last, floor: 0, ...this.#limits, at: this.#clock.now() };
  }

  #told(state: StreamState): StreamState {
    const isAware = this.#clock.now() >= this.#unawareUntil;
    return isAware ? state : { ...state, epoch: this.#precursor?.epoch ?? state.epoch };
  }

  #read(bus: SimulatedBus, room: string, from: number, limit: number, fresh: boolean): Extract {
    const view = fresh ? this.#leaderOf(bus) : this.#serverOf(bus);
    const found = this.#retained(view, room).filter(({ seq }) => seq >= from);
    if (fresh) return { pushes: found.slice(0, 1), pending: found.length === 0 ? 0 : undefined };
    const pushes = found.slice(0, limit);
    return { pushes, pending: found.length - pushes.length };
  }

  #at(view: View, seq: number): Uint8Array | undefined {
    const push = view.line.pushes.find((each) => each.seq === seq && seq <= view.last);
    return push && this.#retained(view, push.room).find((each) => each.seq === seq)?.bytes;
  }

  #heads(bus: SimulatedBus, rooms: readonly string[], after: number): Heads {
    const view = this.#serverOf(bus);
    const upTo = view.last;
    const seqs = new Map<string, number>();
    if (this.#sabotage === 'repair') return { seqs, upTo };
    for (const room of rooms) {
      const last = this.#retained(view, room).at(-1)?.seq ?? 0;
      if (last > after) seqs.set(room, last);
    }
    return { seqs, upTo: seqs.size > 0 ? upTo : undefined };
  }

  /** The pushes of a room that limits leave at a server which knows this. */
  #retained({ line, last }: View, room: string): SimulatedPush[] {
    const { messages, maxAge } = this.#limits;
    const oldest = this.#clock.now() - maxAge;
    return line.pushes
      .filter((push) => push.room === room && push.seq <= last)
      .slice(-messages)
      .filter(({ at }) => at > oldest);
  }
}
