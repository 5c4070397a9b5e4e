import { hash, randomBytes } from 'node:crypto';
import type { Position } from '@pushcluster/protocol/frames.ts';
import { decodePush } from '@pushcluster/protocol/push.ts';
import type { HistoryPolicy } from '@pushcluster/protocol/roomPolicies.ts';
import type { Subjects } from '@pushcluster/protocol/subjects.ts';
import { BusOverloaded, BusUnavailable, BusUnconfirmed } from '@pushcluster/runtime/bus/bus.ts';
import { type Clock, pause, systemClock } from '@pushcluster/runtime/clock.ts';
import { HistoryMissing, HistoryRefused, type HistoryStore } from '@pushcluster/runtime/history/historyStore.ts';
import type { CounterAnnouncements } from '../publish/counterAnnouncements.ts';
import { type ItemCounter, type ItemCounters, numberingOf } from '../publish/itemCounters.ts';
import type { Message } from '../publish/messagePublisher.ts';
import type { PublisherHeartbeat } from '../publish/publisherHeartbeat.ts';
import type { Given, RoomHistories } from './roomHistories.ts';

/** Messages that wait to be stored at most, over all rooms. Beyond it a push is refused. */
const MAX_WAITING = 10_000;
/** Milliseconds before a message is tried again: from, and to. */
const [AGAIN_FROM_MS, AGAIN_TO_MS] = [100, 500];

export type HistoryPublisherParts = {
  store: HistoryStore;
  histories: RoomHistories;
  subjects: Subjects;
  heartbeat: PublisherHeartbeat;
  counters: ItemCounters;
  announcements: CounterAnnouncements;
  /** Milliseconds since the epoch. */
  now: () => number;
  /** Milliseconds for which a message is tried: `history.publishTimeout`. */
  timeout: () => number;
  clock?: Clock;
  /** A message is stored. `seconds`: since it was sent first. */
  onStored: (seconds: number) => void;
  /** A message is tried again. */
  onRetry: () => void;
  /** A message had been stored before. */
  onDuplicate: () => void;
  /** The store refuses for a reason that does not pass by itself. */
  onRefused: (error: HistoryRefused) => void;
};

/**
 * Stores pushes in the histories of rooms. Of one room one message at a time is on its way: the order of this process'
 * pushes to it holds, whatever has to be tried again.
 */
export class HistoryPublisher {
  readonly #parts: HistoryPublisherParts;
  readonly #clock: Clock;
  readonly #process = randomBytes(9).toString('base64url');
  /** The last message of each room that has one on its way. */
  readonly #tails = new Map<string, Promise<unknown>>();
  #messages = 0;
  #waiting = 0;

  constructor(parts: HistoryPublisherParts) {
    this.#parts = parts;
    this.#clock = parts.clock ?? systemClock;
  }

  /** Messages that are not stored yet. */
  get waiting(): number {
    return this.#waiting;
  }

  /**
   * Stores `messages` in order, with none of this process between them. Resolves with the position of the last one.
   * Rejects with BusUnavailable (BusOverloaded is one) if none was stored and none will be, with BusUnconfirmed if one may
   * have been.
   */
  async publish(policy: HistoryPolicy, room: string, messages: readonly Message[], id: string): Promise<Position> {
    if (this.#waiting + messages.length > MAX_WAITING)
      throw new BusOverloaded(`${MAX_WAITING} messages wait to be stored`);
    this.#waiting += messages.length;
    const deadline = this.#clock.now() + this.#parts.timeout();
    const before = this.#tails.get(room);
    const stored = this.#storeAll(before, policy, room, messages, id, deadline);
    const tail = stored.catch(() => {});
    this.#tails.set(room, tail);
    try {
      return await stored;
    } finally {
      this.#waiting -= messages.length;
      if (this.#tails.get(room) === tail) this.#tails.delete(room);
    }
  }

  async #storeAll(
    before: Promise<unknown> | undefined,
    policy: HistoryPolicy,
    room: string,
    messages: readonly Message[],
    id: string,
    deadline: number,
  ): Promise<Position> {
    if (before) await before;
    if (this.#clock.now() >= deadline) throw new BusUnavailable('pushes of the room before it took too long');
    let stored: Position | undefined;
    for (const [part, message] of messages.entries()) {
      try {
        stored = await this.#store(policy, room, message, this.#idOf(room, id, part), deadline);
      } catch (error) {
        if (stored && error instanceof BusUnavailable) throw new BusUnconfirmed(error.message);
        throw error;
      }
    }
    return stored!;
  }

  async #store(policy: HistoryPolicy, room: string, message: Message, id: string, deadline: number): Promise<Position> {
    const { store, histories, subjects, heartbeat, counters, announcements, now } = this.#parts;
    // Every attempt has the same bytes. They are made once the bus is there, since a heartbeat precedes them.
    let made: { counter: ItemCounter; from: number; bytes: Uint8Array } | undefined;
    let first: Given | undefined;
    let unknown = false;
    let failure: unknown;
    const began = this.#clock.now();
    for (let attempt = 0; attempt === 0 || this.#clock.now() < deadline; attempt++) {
      if (attempt > 0) this.#parts.onRetry();
      try {
        if (made === undefined) {
          heartbeat.refresh();
          const counter = counters.of(subjects.room(room), heartbeat.number);
          made = { counter, from: counter.next, bytes: message.encode(numberingOf(counter, now())) };
        }
        const { counter, from, bytes } = made;
        const before = await this.#given(policy.match);
        if (!message.retriable) first ??= before;
        const { seq, duplicate } = await store.append(policy.match, room, bytes, id);
        const sent = { before, first, isDuplicate: duplicate };
        const isIn = () => this.#isIn(policy.match, room, seq, bytes);
        const position = await this.#untilSaid(deadline, async () => {
          const { epoch } = await histories.state(policy.match);
          return { found: await histories.stored(policy.match, { seq, epoch }, sent, isIn) };
        });
        if (position.found !== undefined) {
          announcements.pushed(counter);
          this.#parts.onStored((this.#clock.now() - began) / 1_000);
          if (duplicate) this.#parts.onDuplicate();
          // What was stored before has other numbers, unless an attempt of ours stored it.
          if (!duplicate) counter.next = from + message.itemCount;
          else if (unknown) this.#abandon(counter, from, message.itemCount);
          return position.found;
        }
        // It is stored again, in the history that there is now.
        unknown = true;
        failure = new Error('the history that stored the push has gone');
      } catch (error) {
        // A stream that is not made because the store refuses it is not waited for.
        const refusal = error instanceof HistoryMissing ? histories.refusal(policy.match) : undefined;
        failure = refusal ?? error;
        if (error instanceof HistoryRefused) this.#parts.onRefused(error);
        else if (error instanceof BusUnconfirmed) unknown = true;
        else if (!(error instanceof BusUnavailable || error instanceof HistoryMissing)) throw error;
        if (error instanceof HistoryMissing || error instanceof BusUnavailable) histories.restoreSoon(policy);
        if (failure instanceof HistoryRefused) break;
      }
      await this.#pause();
    }
    const reason = failure instanceof Error ? failure.message : String(failure);
    if (!unknown || !made) throw new BusUnavailable(reason, { cause: failure });
    if (message.retriable) this.#abandon(made.counter, made.from, message.itemCount);
    else made.counter.next = made.from + message.itemCount;
    throw new BusUnconfirmed(reason);
  }

  /** Rejects with BusUnavailable if there is no answer: nothing was sent to be stored. */
  async #given(match: string): Promise<Given> {
    try {
      return await this.#parts.histories.given(match);
    } catch (error) {
      if (error instanceof BusUnconfirmed) throw new BusUnavailable(error.message);
      throw error;
    }
  }

  /** Asks until there is an answer. Rejects with BusUnconfirmed at the deadline. */
  async #untilSaid<T>(deadline: number, ask: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await ask();
      } catch (error) {
        if (this.#clock.now() >= deadline)
          throw new BusUnconfirmed(error instanceof Error ? error.message : String(error));
      }
      await this.#pause();
    }
  }

  /** Whether the history has this push at this place. A server that is behind may say no. Rejects as the store does. */
  async #isIn(match: string, room: string, seq: number, bytes: Uint8Array): Promise<boolean> {
    const { pushes } = await this.#parts.store.read(match, room, seq, 1);
    return pushes[0]?.seq === seq && isSame(pushes[0].bytes, bytes);
  }

  #pause(): Promise<void> {
    return pause(this.#clock, AGAIN_FROM_MS + Math.random() * (AGAIN_TO_MS - AGAIN_FROM_MS));
  }

  /** Nobody knows whether the items from `from` on were delivered under these numbers: others are used from now on. */
  #abandon(counter: ItemCounter, from: number, items: number) {
    counter.next = from + items;
    this.#parts.counters.abandon(counter, from);
  }

  /** The store's id of a message: one of a stream, so that the room is part of it. */
  #idOf(room: string, id: string, part: number): string {
    if (id === '') return `${this.#process}.${this.#messages++}`;
    return hash('sha256', JSON.stringify([room, id, part]), 'base64url').slice(0, 22);
  }
}

/** Whether two messages are of one push: what another request has stored has the same id, and other numbers. */
function isSame(one: Uint8Array, other: Uint8Array): boolean {
  if (Buffer.compare(one, other) === 0) return true;
  const { id } = decodePush(one);
  return id !== '' && id === decodePush(other).id;
}
