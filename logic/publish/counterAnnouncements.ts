import { encodePush } from '@pushcluster/protocol/push.ts';
import { type Bus, BusUnavailable } from '@pushcluster/runtime/bus/bus.ts';
import { AnnouncementSchedule } from './announcementSchedule.ts';
import { type ItemCounter, numberingOf } from './itemCounters.ts';
import { NO_ITEMS } from './messageSplitter.ts';

/** Announcements published in one turn of the event loop. */
const SLICE = 250;

/**
 * Publishes how far subjects have been counted, some seconds after their last push: a gateway that missed the last message
 * of a room learns of the loss without a later push.
 */
export class CounterAnnouncements {
  readonly #bus: Bus;
  readonly #now: () => number;
  readonly #schedule = new AnnouncementSchedule<ItemCounter>();
  /** What publishing threw after its tick had returned. */
  #failure: unknown;

  /** @param now milliseconds since the epoch */
  constructor(bus: Bus, now: () => number) {
    this.#bus = bus;
    this.#now = now;
  }

  /** There is a push on the subject of `counter` now. */
  pushed(counter: ItemCounter): void {
    this.#schedule.pushed(counter);
  }

  /** A gateway was away: subjects of the last minutes are announced once more, from the next tick on. */
  repeat(): void {
    this.#schedule.repeat();
  }

  /** Throws what publishing threw since the last call. */
  throwFailure(): void {
    const failure = this.#failure;
    this.#failure = undefined;
    if (failure !== undefined) throw failure;
  }

  /** Call once a second while the bus is connected. Publishes what is due. Throws BusUnavailable. */
  tick(): void {
    this.#publish(this.#schedule.tick());
  }

  #publish(counters: ItemCounter[]) {
    for (const counter of counters.splice(0, SLICE))
      this.#bus.publish(counter.subject, announcement(counter, this.#now()));
    if (counters.length === 0) return;
    setImmediate(() => {
      try {
        this.#publish(counters);
      } catch (error) {
        // No caller is left to catch it: `throwFailure` throws it.
        if (!(error instanceof BusUnavailable)) this.#failure = error;
      }
    });
  }
}

/** A message without items, which says how far `counter` has come. To users it would have no entries: the bytes are the same. */
function announcement(counter: ItemCounter, at: number): Uint8Array {
  const numbering = numberingOf(counter, at);
  const mark = Math.min(counter.mark, counter.next);
  return encodePush({ ...numbering, mark, urgent: false, id: '', items: NO_ITEMS });
}
