import { randomBytes } from 'node:crypto';
import type { Target } from '@pushcluster/protocol/api.ts';
import {
  encodePush,
  encodeUserPush,
  type Items,
  itemsSize,
  joinItems,
  sliceItems,
  type UserEntry,
  userEntrySize,
} from '@pushcluster/protocol/push.ts';
import type { Subjects } from '@pushcluster/protocol/subjects.ts';
import { type Bus, BusUnavailable, BusUnconfirmed } from '@pushcluster/runtime/bus/bus.ts';
import { Beats } from './beats.ts';
import { itemTooLarge } from './items.ts';
import { type ProblemCode, problemOf } from './problems.ts';

/** Room for a header in every message: the most that protocol/push.ts writes, and as much again for later versions. */
const HEADER_BYTES = 1_024;
/** User pushes of so many milliseconds travel in one message: every gateway reads each of them. */
const USER_WINDOW_MS = 2;
/** Names in one message, at most: looked at in one go, each 1 to 2 µs of every gateway's hub. */
const MAX_USERS_TOGETHER = 4_096;
/** Rooms counted before a new publisher id: about 100 MB of names and counters at their longest. */
const MAX_SUBJECTS = 1_000_000;
/** Bytes of one push to many rooms that go out before their receipt is waited for: far below what the bus refuses (BusOverloaded). */
const WAVE_BYTES = 8_388_608;

/** A beat precedes a push where the last one is so many milliseconds old: by it gateways know what came after they subscribed. */
const BEAT_AGE_MS = 100;
/** Counts that are told in one turn of the loop. */
const TELL_SLICE = 250;

/** `id`: what tells this request from all others (requestId.ts); '' where it has none. */
export type PublishOptions = { urgent: boolean; id: string };
export type RoomFailure = { room: string; code: ProblemCode };

/**
 * Numbers, splits and publishes pushes. What it resolves has been confirmed by the bus. What it rejects with
 * BusUnavailable (BusOverloaded is one) or Problem was not sent and won't be; with BusUnconfirmed it may have been.
 */
export class Publisher {
  readonly #bus: Bus;
  readonly #subjects: Subjects;
  readonly #now: () => number;
  readonly #monotonic: () => number;
  readonly #maxSubjects: number;
  readonly #process = randomBytes(6).toString('base64url');
  /** Counts that were begun anew: each has a name of its own. */
  #renewals = 0;
  #counted = new Map<string, Counted>();
  readonly #beats = new Beats<Counted>();
  #beat = 0;
  /** What telling the counts threw after its tick. */
  #failure: unknown;
  #beatAt = Number.NEGATIVE_INFINITY;
  #batch: UserBatch | undefined;
  #inFlight = 0;

  constructor(
    bus: Bus,
    subjects: Subjects,
    options: { now?: () => number; monotonic?: () => number; maxSubjects?: number } = {},
  ) {
    this.#bus = bus;
    this.#subjects = subjects;
    this.#now = options.now ?? Date.now;
    this.#monotonic = options.monotonic ?? (() => performance.now());
    this.#maxSubjects = options.maxSubjects ?? MAX_SUBJECTS;
  }

  /** The identity that counts begun now carry. */
  get id(): string {
    return this.#renewals === 0 ? this.#process : `${this.#process}.${this.#renewals}`;
  }

  /** Bytes given to the bus and not yet confirmed. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /**
   * Publishes `items` (JSON texts) to `target`. Resolves with the rooms that failed where others did not.
   * Rejects with BusUnavailable, BusOverloaded, BusUnconfirmed, or a Problem: an item over the bus's own limit.
   */
  async publish(target: Target, items: readonly Uint8Array[], options: PublishOptions): Promise<RoomFailure[]> {
    if (!this.#bus.connected) throw new BusUnavailable('the bus is not connected');
    switch (target.type) {
      case 'all':
        await this.#toSubject(this.#subjects.all, this.#split(items, 0), options);
        return [];
      case 'room':
        await this.#toSubject(this.#subjects.room(target.room), this.#split(items, 0), options);
        return [];
      case 'rooms':
        return this.#toRooms(target.rooms, this.#split(items, 0), options);
      case 'user':
        await this.#toUsers([target.user], items, options);
        return [];
      case 'users':
        await this.#toUsers(target.users, items, options);
        return [];
    }
  }

  /**
   * Call once a second: says that this process publishes, and how far it has counted where there were pushes lately. So
   * whoever missed the last one of a room hears of it too.
   */
  tick(): void {
    const failure = this.#failure;
    this.#failure = undefined;
    if (failure !== undefined) throw failure;
    if (!this.#bus.connected) return;
    try {
      this.#sayBeat();
      this.#tell(this.#beats.tick());
    } catch (error) {
      // The next tick is a second away.
      if (!(error instanceof BusUnavailable)) throw error;
    }
  }

  /**
   * This process or a gateway has connected to the bus: gateways hear at once who publishes. One that was away (`again`)
   * hears at the next tick how far rooms with a push in the last minutes were counted, too.
   */
  greet(again: boolean): void {
    if (again) this.#beats.recall();
    if (!this.#bus.connected) return;
    try {
      this.#sayBeat();
    } catch (error) {
      if (!(error instanceof BusUnavailable)) throw error;
    }
  }

  #tell(counts: Counted[]) {
    for (const counted of counts.splice(0, TELL_SLICE))
      this.#bus.publish(counted.subject, emptyPush(counted, this.#now()));
    if (counts.length === 0) return;
    setImmediate(() => {
      try {
        this.#tell(counts);
      } catch (error) {
        // Nobody takes what is thrown here: the next tick throws it.
        if (!(error instanceof BusUnavailable)) this.#failure = error;
      }
    });
  }

  #sayBeat() {
    const counter = this.#beat + 1;
    const head = { counter, at: this.#now(), begun: 0, beat: counter, mark: counter, first: counter };
    this.#bus.publish(
      this.#subjects.beat,
      encodePush({ ...head, publisher: this.#process, urgent: false, id: '', items: NO_ITEMS }),
    );
    this.#beat = counter;
    this.#beatAt = this.#monotonic();
  }

  async #toSubject(subject: string, parts: Items[], options: PublishOptions): Promise<void> {
    const counted = this.#count(subject);
    const from = counted.next;
    try {
      await this.#confirm(this.#send(counted, parts, options));
    } catch (error) {
      if (options.id !== '') this.#unconfirmed(counted, from);
      throw error;
    }
  }

  /**
   * What was counted from `from` on, with an `id`, may never have been sent. Its publisher is told so and tries again;
   * told as a gap it would be one of items that came nevertheless, by the retry. So nothing more is said of it: the
   * subject is counted anew, under another name.
   */
  #unconfirmed(counted: Counted, from: number) {
    if (counted.next <= from) return;
    counted.next = from;
    if (this.#counted.get(counted.subject) !== counted) return;
    this.#counted.delete(counted.subject);
    this.#renewals++;
  }

  async #toRooms(rooms: string[], parts: Items[], options: PublishOptions): Promise<RoomFailure[]> {
    const bytes = parts.reduce((sum, part) => sum + itemsSize(part) + HEADER_BYTES, 0);
    const wave = Math.max(1, Math.floor(WAVE_BYTES / bytes));
    const outcomes: PromiseSettledResult<void>[] = [];
    for (let from = 0; from < rooms.length; from += wave) {
      const some = rooms.slice(from, from + wave);
      const sends = some.map((room) => this.#toSubject(this.#subjects.room(room), parts, options));
      outcomes.push(...(await Promise.allSettled(sends)));
    }
    const failures: RoomFailure[] = [];
    let unconfirmed: unknown;
    let unavailable: unknown;
    for (const [i, outcome] of outcomes.entries()) {
      if (outcome.status === 'fulfilled') continue;
      const isUnavailable = outcome.reason instanceof BusUnavailable;
      if (!isUnavailable && !(outcome.reason instanceof BusUnconfirmed)) throw outcome.reason;
      if (isUnavailable) unavailable = outcome.reason;
      else unconfirmed = outcome.reason;
      failures.push({ room: rooms[i]!, code: problemOf(outcome.reason, 0).code });
    }
    // Where nothing arrived for sure, one of them that may have arrived makes the whole unconfirmed.
    if (failures.length === rooms.length) throw unconfirmed ?? unavailable;
    return failures;
  }

  /** Publishes `parts` in one turn, so that no other push comes between. Returns the bytes sent. */
  #send(counted: Counted, parts: Items[], options: PublishOptions): number {
    let sent = 0;
    for (const [part, items] of parts.entries()) {
      const bytes = encodePush({
        publisher: counted.publisher,
        counter: counted.next,
        at: this.#now(),
        begun: counted.begun,
        beat: counted.beat,
        mark: counted.mark,
        first: counted.first,
        urgent: options.urgent,
        id: partId(options.id, part),
        items,
      });
      this.#publish(counted.subject, bytes, sent > 0);
      counted.next += items.lengths.length;
      sent += bytes.length;
    }
    return sent;
  }

  /** @param begun whether a part of the same push is already out */
  #publish(subject: string, bytes: Uint8Array, begun: boolean) {
    try {
      this.#bus.publish(subject, bytes);
    } catch (error) {
      if (begun && error instanceof BusUnavailable) throw new BusUnconfirmed(error.message);
      throw error;
    }
  }

  async #confirm(bytes: number): Promise<void> {
    this.#inFlight += bytes;
    try {
      await this.#bus.flush();
    } finally {
      this.#inFlight -= bytes;
    }
  }

  async #toUsers(users: string[], items: readonly Uint8Array[], options: PublishOptions): Promise<void> {
    const entries: UserEntry[] = [];
    // A retry may list them in another order: it must be cut to the same parts.
    for (const some of this.#splitUsers(options.id === '' ? users : users.toSorted())) {
      const overhead = userEntrySize({ users: some, id: partId(options.id, 999_999), urgent: false, items: NO_ITEMS });
      for (const part of this.#split(items, overhead))
        entries.push({ users: some, id: partId(options.id, entries.length), urgent: options.urgent, items: part });
    }
    const outcomes = await Promise.allSettled(entries.map((entry) => this.#enqueue(entry)));
    const errors = outcomes.filter((outcome) => outcome.status === 'rejected').map((outcome) => outcome.reason);
    if (errors.length === 0) return;
    const notSent = errors.filter((error) => error instanceof BusUnavailable).length;
    if (notSent > 0 && notSent < entries.length) throw new BusUnconfirmed('the bus went away in the middle of a push');
    throw errors[0];
  }

  /** Puts `entry` in the message of these milliseconds. Resolves when the bus has confirmed it. */
  #enqueue(entry: UserEntry): Promise<void> {
    const size = userEntrySize(entry);
    const { users } = entry;
    const full =
      this.#batch && (this.#batch.size + size > this.#budget || this.#batch.users + users.length > MAX_USERS_TOGETHER);
    if (this.#batch && full) this.#sendBatch(this.#batch);
    if (!this.#batch) {
      const batch: UserBatch = { entries: [], users: 0, size: 4, ...Promise.withResolvers<void>() };
      setTimeout(() => this.#sendBatch(batch), USER_WINDOW_MS);
      this.#batch = batch;
    }
    this.#batch.entries.push(entry);
    this.#batch.users += users.length;
    this.#batch.size += size;
    return this.#batch.promise;
  }

  #sendBatch(batch: UserBatch) {
    if (this.#batch !== batch) return;
    this.#batch = undefined;
    try {
      const counted = this.#count(this.#subjects.user);
      const from = counted.next;
      const bytes = encodeUserPush({
        publisher: counted.publisher,
        counter: from,
        at: this.#now(),
        begun: counted.begun,
        beat: counted.beat,
        mark: counted.mark,
        first: counted.first,
        urgent: batch.entries.some((entry) => entry.urgent),
        id: '',
        entries: batch.entries,
      });
      this.#bus.publish(counted.subject, bytes);
      for (const entry of batch.entries) counted.next += entry.items.lengths.length;
      this.#confirm(bytes.length).then(batch.resolve, (error) => {
        if (batch.entries.some(({ id }) => id !== '')) this.#unconfirmed(counted, from);
        batch.reject(error);
      });
    } catch (error) {
      batch.reject(error);
    }
  }

  /** Where the next item on `subject` is counted. The count moves on only when the item is out: a refused push leaves no gap. */
  #count(subject: string): Counted {
    if (this.#monotonic() - this.#beatAt >= BEAT_AGE_MS) this.#sayBeat();
    let counted = this.#counted.get(subject);
    if (!counted) {
      if (this.#counted.size >= this.#maxSubjects) {
        // Forgotten rooms would count from 1 again, which downstream reads as repeats: become another publisher.
        this.#renewals++;
        this.#counted = new Map();
      }
      const begun = { begun: this.#now(), first: this.#beat };
      counted = { subject, publisher: this.id, next: 1, ...begun, beat: 0, mark: 1, pushed: -1 };
      this.#counted.set(subject, counted);
    }
    if (counted.beat !== this.#beat) {
      counted.beat = this.#beat;
      counted.mark = counted.next;
    }
    this.#beats.pushed(counted);
    return counted;
  }

  get #budget(): number {
    return this.#bus.maxPayload - HEADER_BYTES;
  }

  /** Cuts `items` to messages, always at the same places. @param overhead bytes beside them in each message */
  #split(items: readonly Uint8Array[], overhead: number): Items[] {
    const budget = this.#budget - overhead;
    const all = joinItems(items);
    if (itemsSize(all) <= budget) return [all];
    // An item alone takes its count, its length and itself.
    const limit = Math.max(0, budget - 8);
    const parts: Items[] = [];
    let from = 0;
    let size = 4;
    for (let i = 0; i < items.length; i++) {
      const length = items[i]!.length;
      if (length > limit) throw itemTooLarge(items, limit);
      if (i > from && size + length + 5 > budget) {
        parts.push(sliceItems(all, from, i));
        from = i;
        size = 4;
      }
      size += length + 5;
    }
    parts.push(sliceItems(all, from, items.length));
    return parts;
  }

  /** Cuts `users` to runs whose names take at most a quarter of a message, always at the same places. */
  #splitUsers(users: string[]): string[][] {
    const runs: string[][] = [];
    let run: string[] = [];
    let size = 0;
    for (const user of users) {
      const bytes = Buffer.byteLength(user) + 1;
      if (run.length > 0 && size + bytes > this.#budget / 4) {
        runs.push(run);
        run = [];
        size = 0;
      }
      run.push(user);
      size += bytes;
    }
    runs.push(run);
    return runs;
  }
}

/** How far a subject is counted. */
type Counted = {
  subject: string;
  publisher: string;
  /** Counter of the next item. */
  next: number;
  /** As in protocol/push.ts. */
  begun: number;
  first: number;
  beat: number;
  mark: number;
  /** Tick of the last push. */
  pushed: number;
};

type UserBatch = { entries: UserEntry[]; users: number; size: number } & PromiseWithResolvers<void>;

const NO_ITEMS: Items = { lengths: new Uint32Array(0), bytes: new Uint8Array(0) };

/** Every part has its own id, so that a retry is recognised part by part. */
function partId(id: string, part: number): string {
  return id === '' ? '' : `${id}/${part}`;
}

/** A message without items, which says how far `counted` has come. Of users it has no entries: the bytes are the same. */
function emptyPush({ publisher, next, begun, beat, mark, first }: Counted, at: number): Uint8Array {
  const head = { publisher, counter: next, at, begun, beat, mark: Math.min(mark, next), first };
  return encodePush({ ...head, urgent: false, id: '', items: NO_ITEMS });
}
