import { type Bus, BusUnavailable, BusUnconfirmed } from '@pushcluster/runtime/bus/bus.ts';
import type { CounterAnnouncements } from './counterAnnouncements.ts';
import { type ItemCounter, type ItemCounters, numberingOf } from './itemCounters.ts';
import type { Message, MessagePublisher } from './messagePublisher.ts';
import type { PublisherHeartbeat } from './publisherHeartbeat.ts';

export type FlushedPublisherParts = {
  bus: Bus;
  heartbeat: PublisherHeartbeat;
  counters: ItemCounters;
  announcements: CounterAnnouncements;
  /** Milliseconds since the epoch. */
  now: () => number;
};

/** Numbers messages, publishes them, and has them confirmed by a flush: the server has received them. */
export class FlushedPublisher implements MessagePublisher {
  readonly #parts: FlushedPublisherParts;
  #inFlight = 0;

  constructor(parts: FlushedPublisherParts) {
    this.#parts = parts;
  }

  /** Bytes published and not yet confirmed. */
  get inFlight(): number {
    return this.#inFlight;
  }

  async publish(subject: string, messages: readonly Message[]): Promise<void> {
    const { heartbeat, counters, announcements } = this.#parts;
    heartbeat.refresh();
    const counter = counters.of(subject, heartbeat.number);
    announcements.pushed(counter);
    const from = counter.next;
    try {
      await this.#confirm(this.#send(counter, messages));
    } catch (error) {
      if (messages.some(({ retriable }) => retriable)) counters.abandon(counter, from);
      throw error;
    }
  }

  /** Sends all messages in one turn of the event loop, so that no other message comes between. Returns the bytes sent. */
  #send(counter: ItemCounter, messages: readonly Message[]): number {
    const { bus, now } = this.#parts;
    let sent = 0;
    for (const message of messages) {
      const bytes = message.encode(numberingOf(counter, now()));
      try {
        bus.publish(counter.subject, bytes);
      } catch (error) {
        if (sent > 0 && error instanceof BusUnavailable) throw new BusUnconfirmed(error.message);
        throw error;
      }
      counter.next += message.itemCount;
      sent += bytes.length;
    }
    return sent;
  }

  async #confirm(bytes: number): Promise<void> {
    this.#inFlight += bytes;
    try {
      await this.#parts.bus.flush();
    } finally {
      this.#inFlight -= bytes;
    }
  }
}
