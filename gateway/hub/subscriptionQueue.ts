import type { Clock } from '@pushcluster/runtime/clock.ts';
import type { HubChannel } from './hubChannel.ts';

/** Milliseconds between two groups of subscriptions. */
const TICK_MS = 50;
/** Rooms that subscribe in one tick at most: some 5 ms of work, and 5,000 rooms per second. */
const PER_TICK = 250;

/** Rooms that wait to be subscribed for, in the order in which they came. Each of them has a member. */
export class SubscriptionQueue {
  readonly #clock: Clock;
  readonly #subscribe: (channel: HubChannel) => void;
  readonly #queue = new Set<HubChannel>();
  #tickAt = Number.NEGATIVE_INFINITY;
  #subscribed = 0;

  /** @param subscribe subscribes for a room */
  constructor(clock: Clock, subscribe: (channel: HubChannel) => void) {
    this.#clock = clock;
    this.#subscribe = subscribe;
  }

  get waiting(): number {
    return this.#queue.size;
  }

  /** Subscribes for the room now, or when all rooms before it have been subscribed for. */
  add(channel: HubChannel): void {
    if (this.#queue.size === 0 && this.#maySubscribe()) {
      this.#subscribe(channel);
      return;
    }
    this.#queue.add(channel);
    if (this.#queue.size === 1) this.#wait();
  }

  /** The room has no member any more. False if it did not wait. */
  remove(channel: HubChannel): boolean {
    return this.#queue.delete(channel);
  }

  #maySubscribe(): boolean {
    const now = this.#clock.now();
    if (now - this.#tickAt >= TICK_MS) {
      this.#tickAt = now;
      this.#subscribed = 0;
    }
    return ++this.#subscribed <= PER_TICK;
  }

  #wait() {
    this.#clock.after(TICK_MS, () => {
      // The next tick is set first, so that an error of one room does not keep the others waiting.
      if (this.#queue.size > 0) this.#wait();
      for (const channel of this.#queue) {
        if (!this.#maySubscribe()) return;
        this.#queue.delete(channel);
        this.#subscribe(channel);
      }
    });
  }
}
