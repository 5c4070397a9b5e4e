import type { Position } from '@pushcluster/protocol/frames.ts';
import { fullJitter } from '@pushcluster/protocol/fullJitter.ts';
import { type Bus, BusUnconfirmed } from '@pushcluster/runtime/bus/bus.ts';
import type { Clock } from '@pushcluster/runtime/clock.ts';
import type { Extract, HistoryStore, StreamState } from '@pushcluster/runtime/history/historyStore.ts';
import type { GatewayMetrics } from '../../metrics/gatewayMetrics.ts';

/** Milliseconds between two looks at a stream. */
const COMPARE_MS = 1_000;
/** Milliseconds in which the first questions of rooms are gathered to one. */
const GATHER_MS = 5;
/** Rooms in one question at most: the store's limit. */
const ROOMS_AT_ONCE = 1_000;
/** Reads of one stream at a time: each delays the publishes at the server that answers. */
const READS_AT_ONCE = 2;
/**
 * Milliseconds after which nothing new is believed: a server that has nothing to tell does not say how far it is, and one
 * that is behind does not stay so for longer.
 */
export const BEHIND_MS = 2_000;
/** Milliseconds for which a stream must be behind what came until it counts as set back. */
export const SET_BACK_MS = 15_000;
/** Epochs of a stream that are remembered. */
const MAX_PAST = 100;
/** Epochs of a stream of which it is told how far it came: a server may take it for the one before for some seconds. */
const MAX_REACHED = 3;
/** Milliseconds between two looks while it is not known whether it was set back. */
const SET_BACK_LOOK_MS = 100;
/** Milliseconds for which an answer serves all who want to know whether the stream has a number. */
const ASKED_FOR_MS = 100;
/** Milliseconds between attempts to ask: the first limit, and the largest. */
const [RETRY_FIRST_MS, RETRY_LONGEST_MS] = [50, 1_000];

/** A room of a stream, as the monitor sees it. */
export interface MonitoredRoom {
  readonly room: string;
  /** Everything up to this sequence number was taken, or came before its time; undefined before it has begun. */
  readonly head: number | undefined;
  /** The history that `head` counts in; undefined before anybody has said so. */
  readonly epoch: string | undefined;
  /**
   * What has a larger number than `head`, in this history, is new. @param last number of the room's last push up to `head`, or
   * `head` if that is not known
   */
  begin(head: number, epoch: string, last: number): void;
  /** It counts in this history: nobody could say so when it began. */
  adopt(epoch: string): void;
  /** The store has a push with this sequence number. */
  exists(seq: number): void;
  /** The numbers count in another history from now on, or were set back. */
  renew(head: number, epoch: string): void;
  /** What it doubted is certain: the numbers still count in the same history. */
  confirm(): void;
}

/** A push that a room has taken. */
export type TakenPush = Position & { bytes: Uint8Array };

export type HistoryMonitorOptions = {
  store: HistoryStore;
  match: string;
  /** Patterns of the policies before this one that match some of its rooms. */
  earlier: (match: string) => readonly string[];
  bus: Pick<Bus, 'onEvent'>;
  clock: Clock;
  metrics: Pick<GatewayMetrics, 'historyReads' | 'historyStaleAnswers'>;
  /** The stream cannot be looked at: called for each attempt. */
  failed: (error: unknown) => void;
};

/**
 * Watches the stream of one policy for all rooms of this gateway that it holds. NATS delivers each stored push once at
 * most, and loses some when a server crashes: whatever the last push of a room is, the monitor learns of it here.
 */
export class HistoryMonitor {
  /** Name of the stream, as messages tell it. */
  readonly stream: string;
  readonly #options: HistoryMonitorOptions;
  readonly #rooms = new Set<MonitoredRoom>();
  /** Those that have yet to begin. */
  readonly #beginning = new Set<MonitoredRoom>();
  /** Those that doubt that their history is the same. */
  readonly #doubting = new Set<MonitoredRoom>();
  /** Who waits for the next look. */
  #watching: { resolve: () => void; reject: (error: unknown) => void }[] = [];
  readonly #stopListening: () => void;
  #cancelTimer = () => {};
  #cancelGather: (() => void) | undefined;
  /** All that was stored up to this sequence number was compared. */
  #compared = 0;
  /** What was stored when nothing new was found for the first time: the server that answered may have been behind. */
  #unsure: { last: number; at: number } | undefined;
  #state: StreamState | undefined;
  /** Milliseconds by which the store's clock is ahead of the clock's `now`, as of the last look. */
  #storeAhead: number | undefined;
  /** Epochs that the stream had before. */
  readonly #past = new Set<string>();
  /** The largest number in this epoch that came, or that the stream had. */
  #top = 0;
  /** The same, by epoch, without what may be of a stream that is gone. It stays where the stream is set back. */
  readonly #reached = new Map<string, number>();
  /** The push with the largest number that rooms took in this epoch. */
  #latest: TakenPush | undefined;
  /** When rooms lacked nothing that they were not told of, by the clock's `now`. */
  #confirmedAt = Number.NEGATIVE_INFINITY;
  /**
   * Since when the stream has been behind that, or as it was before, by the clock's `now`. Undefined also where it could not
   * be looked at for long: it may be whole again, and if it is not, a former leader may be the first to answer.
   */
  #setBackAt: number | undefined;
  /** When it was looked at last, by the clock's `now`. */
  #answeredAt = Number.NEGATIVE_INFINITY;
  /**
   * Since when the stream may be another one, by the clock's `now`: the bus was away, or came back, or it had an earlier
   * epoch. Undefined once it was looked at.
   */
  #unknownAt: number | undefined;
  /** The stream as it was asked for a moment ago. */
  #asked: Promise<StreamState> | undefined;
  #busy = false;
  #again = false;
  #attempt = 0;
  #closed = false;
  #reading = 0;
  readonly #readers: (() => void)[] = [];

  constructor(options: HistoryMonitorOptions) {
    this.#options = options;
    this.stream = options.store.streamOf(options.match);
    this.#stopListening = options.bus.onEvent(({ type }) => {
      this.#unknownAt = options.clock.now();
      if (type === 'connected') this.look();
    });
  }

  /** The stream as it was last seen; undefined before the store could be asked. */
  get state(): StreamState | undefined {
    return this.#state;
  }

  /** Milliseconds for which an answer may be one of a former leader. */
  get formerMs(): number {
    return this.#options.store.formerMs;
  }

  /** Now, by the clock that dates pushes, milliseconds since 1970; undefined if that is not known. */
  get storeNow(): number | undefined {
    return this.#storeAhead === undefined ? undefined : this.#options.clock.now() + this.#storeAhead;
  }

  /**
   * Tells the room, which is subscribed to, where it begins as soon as the store can be asked, and what it misses until it is
   * removed.
   */
  add(room: MonitoredRoom): void {
    this.#rooms.add(room);
    if (room.head === undefined) this.#beginning.add(room);
    this.#cancelGather ??= this.#options.clock.after(GATHER_MS, () => {
      this.#cancelGather = undefined;
      this.look();
    });
  }

  remove(room: MonitoredRoom): void {
    this.#rooms.delete(room);
    this.#beginning.delete(room);
    this.#doubting.delete(room);
  }

  /** At this moment, by the clock's `now`, rooms lacked nothing that they were not told of. */
  get confirmedAt(): number {
    return this.#confirmedAt;
  }

  /** A push of this history was delivered or read. */
  came(seq: number): void {
    if (seq > this.#top) this.#top = seq;
  }

  /** A room took a push that follows on what it had. */
  took(push: TakenPush): void {
    this.came(push.seq);
    if (this.#state?.epoch !== push.epoch) return;
    this.#reach(push);
    if (push.seq > (this.#latest?.seq ?? 0)) this.#latest = push;
  }

  /** By epoch, the largest number that the stream had in it for certain: of the present epoch, and some before. */
  get reached(): ReadonlyMap<string, number> {
    return this.#reached;
  }

  /** Since when the stream may have been set back, by the clock's `now`; undefined if nothing says so. */
  get setBackAt(): number | undefined {
    return this.#setBackAt;
  }

  /**
   * Whether pushes that come now may be of another history: nobody knows which one the stream is. If it cannot be looked at
   * for long, what comes is believed.
   */
  get isUncertain(): boolean {
    if (this.#setBackAt !== undefined) return true;
    if (this.#unknownAt === undefined || this.#state === undefined) return false;
    return this.#options.clock.now() - this.#unknownAt < SET_BACK_MS;
  }

  /** A number that the room had came with another push: it is told soon whether its history is another one. */
  doubt(room: MonitoredRoom): void {
    this.#doubting.add(room);
    this.look();
  }

  /** Resolves when the stream was looked at, from now on, and rooms know which history it is. Rejects as the store does. */
  looked(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#watching.push({ resolve, reject });
      this.look();
    });
  }

  /** Compares now. */
  look(): void {
    if (this.#closed) {
      for (const { reject } of this.#watching.splice(0)) reject(new BusUnconfirmed('the policy has gone'));
      return;
    }
    if (this.#busy) {
      this.#again = true;
      return;
    }
    void this.#look();
  }

  /** Pushes of a room from `from` on. Rejects as the store does, and while it is not known which history it is. */
  async read(room: string, from: number, limit: number, fresh: boolean): Promise<Extract> {
    const { store, match, metrics } = this.#options;
    if (this.#unknownAt !== undefined) throw new BusUnconfirmed('the stream has yet to be looked at');
    if (this.#reading >= READS_AT_ONCE) await new Promise<void>((resolve) => this.#readers.push(resolve));
    else this.#reading++;
    try {
      metrics.historyReads.inc();
      return await store.read(match, room, from, limit, fresh);
    } finally {
      const next = this.#readers.shift();
      if (next) next();
      else this.#reading--;
    }
  }

  /** The stream as its leader sees it now. Rejects as the store does, and if the history is another one by now. */
  async fresh(): Promise<StreamState> {
    const { store, match } = this.#options;
    const state = await store.state(match, this.#options.earlier(match));
    if (state.epoch !== this.#state?.epoch) throw new BusUnconfirmed('the history is another one');
    return state;
  }

  /** Whether the stream has this number. A former leader may say no. Rejects as `fresh` does. */
  async hasReached(seq: number): Promise<boolean> {
    if (this.#setBackAt === undefined && this.#top >= seq) return true;
    if (this.#asked === undefined) {
      this.#asked = this.fresh();
      this.#options.clock.after(ASKED_FOR_MS, () => {
        this.#asked = undefined;
      });
    }
    return (await this.#asked).last >= seq;
  }

  /**
   * Number of the room's first push after `after`, as a leader knows that has come to `upTo`; infinite if it has none.
   * Rejects as `fresh` does.
   */
  async next(room: string, after: number, upTo: number): Promise<number> {
    const { pushes } = await this.read(room, after + 1, 1, true);
    if (pushes[0] !== undefined) return pushes[0].seq;
    if ((await this.fresh()).last < upTo) throw new BusUnconfirmed('a former leader of the stream has answered');
    return Number.POSITIVE_INFINITY;
  }

  close(): void {
    this.#closed = true;
    this.#stopListening();
    this.#cancelTimer();
    this.#cancelGather?.();
  }

  async #look() {
    const { clock, store, match, failed } = this.#options;
    this.#cancelTimer();
    this.#busy = true;
    this.#again = false;
    let wait = COMPARE_MS;
    const doubting = [...this.#doubting];
    const watching = this.#watching;
    this.#watching = [];
    try {
      const began = clock.now();
      const unknownAt = this.#unknownAt;
      const top = this.#top;
      const state = await store.state(match, this.#options.earlier(match));
      this.#answeredAt = clock.now();
      if (this.#mayBeLate(state))
        throw new BusUnconfirmed(`${this.stream} is as it was before it became another history`);
      const isOther = this.#state !== undefined && this.#state.epoch !== state.epoch;
      if (isOther) this.#leave(this.#state!.epoch, state.epoch);
      this.#state = state;
      this.#storeAhead = state.at === undefined ? undefined : state.at - clock.now();
      this.#reach({ seq: state.last, epoch: state.epoch });
      // A leader may know what it stores, and not yet that this is another history.
      const isUnsure = unknownAt !== undefined || this.#setBackAt !== undefined || doubting.length > 0;
      const isAnother = !isOther && isUnsure && (await this.#isLatestAnother());
      // What it has in place of what was taken may be of another history already.
      const isSetBack = !isOther && this.#isSetBack(state, isAnother ? Number.POSITIVE_INFINITY : top);
      if (isOther || isSetBack) this.#renew(state, isSetBack);
      else if (this.#setBackAt !== undefined) wait = SET_BACK_LOOK_MS;
      else for (const room of doubting) if (this.#doubting.delete(room)) room.confirm();
      // The bus may have been away since it was asked.
      if (this.#unknownAt === unknownAt && !isAnother) this.#unknownAt = undefined;
      for (const { resolve } of watching) resolve();
      await this.#begin(state);
      // Numbers that it may have given again say nothing of what rooms lack.
      if (this.#setBackAt === undefined && (await this.#compare(state))) this.#confirmedAt = began;
      this.#attempt = 0;
    } catch (error) {
      // The store is away, or behind. Rooms go on with what is delivered.
      if (clock.now() - this.#answeredAt >= SET_BACK_MS) this.#setBackAt = undefined;
      wait = fullJitter(this.#attempt++, RETRY_FIRST_MS, RETRY_LONGEST_MS);
      for (const { reject } of watching) reject(error);
      failed(error);
    }
    this.#busy = false;
    // Somebody may wait for it, though all rooms have gone.
    if (this.#again) this.look();
    else if (!this.#closed && this.#rooms.size > 0) this.#cancelTimer = clock.after(wait, () => this.look());
  }

  /** Rooms begin, behind what was stored until now. They share a question for their last pushes. */
  async #begin({ last: head, epoch }: StreamState) {
    const rooms = [...this.#beginning];
    if (rooms.length === 0) return;
    const lasts = new Map<MonitoredRoom, number>();
    // Without an answer they begin all the same, with a number that is no push of theirs.
    const upTo = await this.#ask(rooms, 0, (room, last) => lasts.set(room, last)).catch(() => undefined);
    for (const room of rooms) {
      if (!this.#beginning.delete(room)) continue;
      if (room.head !== undefined) {
        // It has begun without us.
        if (room.head <= head) room.adopt(epoch);
        else room.renew(head, epoch);
        continue;
      }
      const last = lasts.get(room);
      const isKnown = last && last <= head && upTo !== undefined && upTo >= head;
      room.begin(head, epoch, isKnown ? last : head);
    }
  }

  /**
   * Whether the stream lacks for certain what it had: a server that was the leader may answer for some seconds what it knew.
   * @param top the largest number that was known before it was asked
   */
  #isSetBack({ last }: StreamState, top: number): boolean {
    const now = this.#options.clock.now();
    this.#setBackAt = top > last ? (this.#setBackAt ?? now) : undefined;
    this.#top = Math.max(this.#top, last);
    return this.#setBackAt !== undefined && now - this.#setBackAt >= SET_BACK_MS;
  }

  /**
   * Whether the stream has an epoch that it had before, and not for long. An old copy may have taken its place: logic then
   * makes that another history. Or a server that has just restarted leads it, which knows what it stores, and learns some
   * seconds later that it was made another history. Nothing is believed until it is known which of the two it is.
   */
  #mayBeLate({ epoch }: StreamState): boolean {
    if (!this.#past.has(epoch)) return false;
    const now = this.#options.clock.now();
    this.#setBackAt ??= now;
    this.#unknownAt ??= now;
    return now - this.#setBackAt < SET_BACK_MS;
  }

  #reach({ seq, epoch }: Position) {
    const before = this.#reached.get(epoch) ?? 0;
    this.#reached.delete(epoch);
    this.#reached.set(epoch, Math.max(seq, before));
    const [oldest] = this.#reached.keys();
    if (this.#reached.size > MAX_REACHED) this.#reached.delete(oldest!);
  }

  /** Whether the stream has another push in place of the last that was taken: it was set back, and gave the number again. */
  async #isLatestAnother(): Promise<boolean> {
    const { store, match } = this.#options;
    const latest = this.#latest;
    if (latest === undefined) return false;
    const present = await store.at(match, latest.seq);
    return present !== undefined && Buffer.compare(present, latest.bytes) !== 0;
  }

  #leave(epoch: string, next: string) {
    this.#past.delete(next);
    this.#past.add(epoch);
    const [oldest] = this.#past;
    if (this.#past.size > MAX_PAST) this.#past.delete(oldest!);
  }

  /** The numbers count in another history, or were set back. */
  #renew({ last, epoch }: StreamState, isSetBack: boolean) {
    [this.#compared, this.#unsure, this.#top, this.#setBackAt] = [0, undefined, last, undefined];
    this.#latest = undefined;
    this.#doubting.clear();
    // Where the numbers were set back, a member may have come from a gateway that was further than this one.
    for (const room of this.#rooms)
      if (room.head !== undefined && (isSetBack || room.epoch !== epoch || room.head > last)) room.renew(last, epoch);
  }

  /** Returns whether all that was stored up to `last` was compared. */
  async #compare({ last }: StreamState): Promise<boolean> {
    const { clock, metrics } = this.#options;
    const known = [...this.#rooms];
    if (last <= this.#compared) return true;
    const upTo = await this.#ask(known, this.#compared, (room, head) => {
      if (room.head !== undefined && head > room.head) room.exists(head);
    });
    if (upTo !== undefined && upTo < last) metrics.historyStaleAnswers.inc();
    if (upTo !== undefined) {
      this.#compared = Math.max(this.#compared, Math.min(upTo, last));
      this.#unsure = undefined;
      return upTo >= last;
    }
    const unsure = this.#unsure;
    if (unsure && clock.now() - unsure.at < BEHIND_MS) return false;
    if (unsure) this.#compared = unsure.last;
    this.#unsure = { last, at: clock.now() };
    return unsure !== undefined;
  }

  /**
   * Asks for the last pushes of rooms after `after`. Returns up to where every server that answered knows; undefined if one
   * did not say.
   */
  async #ask(
    rooms: readonly MonitoredRoom[],
    after: number,
    told: (room: MonitoredRoom, head: number) => void,
  ): Promise<number | undefined> {
    const { store, match } = this.#options;
    let least: number | undefined = Number.POSITIVE_INFINITY;
    for (let from = 0; from < rooms.length; from += ROOMS_AT_ONCE) {
      const some = rooms.slice(from, from + ROOMS_AT_ONCE);
      const names = some.map(({ room }) => room);
      const { seqs, upTo } = await store.heads(match, names, after);
      least = upTo === undefined || least === undefined ? undefined : Math.min(least, upTo);
      for (const room of some) if (this.#rooms.has(room)) told(room, seqs.get(room.room) ?? 0);
    }
    return least;
  }
}
