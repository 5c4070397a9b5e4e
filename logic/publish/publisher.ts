import { randomBytes } from 'node:crypto';
import type { Target } from '@pushcluster/protocol/api.ts';
import { encodePush, type Items, itemsSize, type UserEntry, userEntrySize } from '@pushcluster/protocol/push.ts';
import type { Subjects } from '@pushcluster/protocol/subjects.ts';
import { type Bus, BusUnavailable, BusUnconfirmed } from '@pushcluster/runtime/bus/bus.ts';
import { systemClock } from '@pushcluster/runtime/clock.ts';
import { HistoryPublisher, type HistoryPublisherParts } from '../history/historyPublisher.ts';
import { CounterAnnouncements } from './counterAnnouncements.ts';
import { FlushedPublisher } from './flushedPublisher.ts';
import { ItemCounters } from './itemCounters.ts';
import type { Message } from './messagePublisher.ts';
import { HEADER_BYTES, MessageSplitter, NO_ITEMS, partId } from './messageSplitter.ts';
import { PublisherHeartbeat } from './publisherHeartbeat.ts';
import { fanOut, type Published, type RoomPosition } from './roomFanOut.ts';
import { UserBatcher } from './userBatcher.ts';

const NOTHING_STORED: Published = { failures: [], stored: [] };

/** The largest part number that room is kept for in a message to users. */
const MAX_PART = 999_999;

export type PublishOptions = {
  urgent: boolean;
  /** The request's idempotency key (idempotencyKey.ts); '' if it has none. */
  id: string;
  /** That of the same request, if it named this room alone. Default: `id`. */
  idIn?: (room: string) => string;
};

export type PublisherOptions = {
  /** Milliseconds since the epoch. */
  now?: () => number;
  /** Milliseconds of a clock that never goes back. */
  monotonic?: () => number;
  maxSubjects?: number;
  /** Absent: no room has a history. */
  history?: Pick<
    HistoryPublisherParts,
    'store' | 'histories' | 'timeout' | 'onStored' | 'onRetry' | 'onDuplicate' | 'onRefused'
  >;
};

/**
 * Publishes pushes: splits them into messages, numbers these, and resolves when the bus has confirmed all of them.
 * Rejects with BusUnavailable (BusOverloaded is one) or Problem if nothing was sent and nothing will be, with
 * BusUnconfirmed if something may have been sent.
 */
export class Publisher {
  readonly #bus: Bus;
  readonly #subjects: Subjects;
  readonly #splitter: MessageSplitter;
  readonly #heartbeat: PublisherHeartbeat;
  readonly #counters: ItemCounters;
  readonly #announcements: CounterAnnouncements;
  readonly #messages: FlushedPublisher;
  readonly #users: UserBatcher;
  readonly #histories: HistoryPublisherParts['histories'] | undefined;
  readonly #stored: HistoryPublisher | undefined;

  constructor(bus: Bus, subjects: Subjects, options: PublisherOptions = {}) {
    const { now = Date.now, monotonic = () => systemClock.now() } = options;
    const process = randomBytes(6).toString('base64url');
    this.#bus = bus;
    this.#subjects = subjects;
    this.#splitter = new MessageSplitter(() => bus.maxPayload);
    this.#heartbeat = new PublisherHeartbeat(bus, subjects.beat, process, { now, monotonic });
    this.#counters = new ItemCounters(process, now, options.maxSubjects);
    this.#announcements = new CounterAnnouncements(bus, now);
    this.#messages = new FlushedPublisher({
      bus,
      heartbeat: this.#heartbeat,
      counters: this.#counters,
      announcements: this.#announcements,
      now,
    });
    const { history } = options;
    this.#histories = history?.histories;
    this.#stored =
      history &&
      new HistoryPublisher({
        ...history,
        subjects,
        heartbeat: this.#heartbeat,
        counters: this.#counters,
        announcements: this.#announcements,
        now,
      });
    this.#users = new UserBatcher(this.#messages, subjects.user, this.#splitter);
  }

  /** The publisher name that new counters get. */
  get id(): string {
    return this.#counters.publisher;
  }

  /** Bytes published and not yet confirmed. */
  get inFlight(): number {
    return this.#messages.inFlight;
  }

  /** Messages to rooms with a history that are not stored yet. */
  get waiting(): number {
    return this.#stored?.waiting ?? 0;
  }

  /**
   * Publishes `items` (JSON texts) to `target`. Some of several rooms may fail; where all do, it rejects.
   * Rejects as described above; with Problem item_too_large if an item is over the bus's own limit.
   */
  async publish(target: Target, items: readonly Uint8Array[], options: PublishOptions): Promise<Published> {
    // A push that is to be stored waits for the store's next leader: the connection may be back sooner.
    if (!this.#bus.connected && !this.#isStored(target)) throw new BusUnavailable('the bus is not connected');
    switch (target.type) {
      case 'all':
        await this.#messages.publish(this.#subjects.all, this.#split(items, options));
        return NOTHING_STORED;
      case 'room':
        return published(await this.#toRoom(target.room, this.#split(items, options), options));
      case 'rooms':
        return this.#toRooms(target.rooms, items, options);
      case 'user':
        await this.#toUsers([target.user], items, options);
        return NOTHING_STORED;
      case 'users':
        await this.#toUsers(target.users, items, options);
        return NOTHING_STORED;
    }
  }

  /**
   * Call once a second. Publishes a heartbeat, and how far subjects with a push lately have been counted.
   * Throws what an earlier tick could not publish, unless the bus was unavailable.
   */
  tick(): void {
    this.#announcements.throwFailure();
    this.#whileConnected(() => {
      this.#heartbeat.send();
      this.#announcements.tick();
    });
  }

  /**
   * Call when this process or a gateway has connected to the bus: a heartbeat tells gateways at once who publishes.
   * @param again a gateway was away: the next tick also repeats the counters of the last minutes
   */
  greet(again: boolean): void {
    if (again) this.#announcements.repeat();
    this.#whileConnected(() => this.#heartbeat.send());
  }

  /** Does nothing if the bus is unavailable: the next tick is a second away. */
  #whileConnected(publish: () => void) {
    if (!this.#bus.connected) return;
    try {
      publish();
    } catch (error) {
      if (!(error instanceof BusUnavailable)) throw error;
    }
  }

  async #toRooms(rooms: string[], items: readonly Uint8Array[], options: PublishOptions): Promise<Published> {
    const parts = this.#splitter.items(items, 0);
    const messages = messagesOf(parts, options);
    const bytes = parts.reduce((sum, part) => sum + itemsSize(part) + HEADER_BYTES, 0);
    return fanOut(rooms, bytes, (room) => {
      const own = this.#optionsIn(room, options);
      return this.#toRoom(room, own === options ? messages : messagesOf(parts, own), own);
    });
  }

  async #toUsers(users: string[], items: readonly Uint8Array[], options: PublishOptions): Promise<void> {
    const { urgent, id } = options;
    const entries: UserEntry[] = [];
    // A retry may list the users in another order: it must be split into the same parts.
    for (const run of this.#splitter.users(id === '' ? users : users.toSorted())) {
      const overhead = userEntrySize({ users: run, id: partId(id, MAX_PART), urgent, items: NO_ITEMS });
      for (const part of this.#splitter.items(items, overhead))
        entries.push({ users: run, id: partId(id, entries.length), urgent, items: part });
    }
    const outcomes = await Promise.allSettled(entries.map((entry) => this.#users.add(entry)));
    const errors = outcomes.filter((outcome) => outcome.status === 'rejected').map((outcome) => outcome.reason);
    if (errors.length === 0) return;
    const notSent = errors.filter((error) => error instanceof BusUnavailable).length;
    if (notSent > 0 && notSent < entries.length)
      throw new BusUnconfirmed('the bus became unavailable in the middle of a push');
    throw errors[0];
  }

  /** A push is stored once in a room, whichever other rooms the requests name that repeat it. */
  #optionsIn(room: string, options: PublishOptions): PublishOptions {
    const { id, idIn } = options;
    const isStored = this.#histories?.policyOf(room) !== undefined;
    return id !== '' && idIn && isStored ? { ...options, id: idIn(room) } : options;
  }

  /** Sends before it returns. Resolves with the position in the room's history, if it has one. */
  async #toRoom(room: string, messages: readonly Message[], { id }: PublishOptions): Promise<RoomPosition | undefined> {
    const policy = this.#histories?.policyOf(room);
    if (policy && this.#stored) return { room, ...(await this.#stored.publish(policy, room, messages, id)) };
    await this.#messages.publish(this.#subjects.room(room), messages);
    return undefined;
  }

  /** Whether any room of the target has a history. */
  #isStored(target: Target): boolean {
    const rooms = target.type === 'room' ? [target.room] : target.type === 'rooms' ? target.rooms : [];
    return rooms.some((room) => this.#histories?.policyOf(room) !== undefined);
  }

  #split(items: readonly Uint8Array[], options: PublishOptions): Message[] {
    return messagesOf(this.#splitter.items(items, 0), options);
  }
}

function published(position: RoomPosition | undefined): Published {
  return position ? { failures: [], stored: [position] } : NOTHING_STORED;
}

function messagesOf(parts: readonly Items[], { urgent, id }: PublishOptions): Message[] {
  return parts.map((items, part) => ({
    itemCount: items.lengths.length,
    retriable: id !== '',
    encode: (numbering) => encodePush({ ...numbering, urgent, id: partId(id, part), items }),
  }));
}
