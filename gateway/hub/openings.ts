import type { HubChannel } from './channel.ts';
import type { Clock } from './clock.ts';

/** Rooms begin at this pace at most: 5,000 a second, some 5 ms of work at a time. */
const TICK_MS = 50;
const PER_TICK = 250;

/** The line of rooms that wait for their subscription: those in it have a member each. */
export class Openings {
  readonly #clock: Clock;
  readonly #open: (channel: HubChannel) => void;
  readonly #line = new Set<HubChannel>();
  #tickAt = Number.NEGATIVE_INFINITY;
  #opened = 0;

  /** @param open subscribes for a room */
  constructor(clock: Clock, open: (channel: HubChannel) => void) {
    this.#clock = clock;
    this.#open = open;
  }

  get waiting(): number {
    return this.#line.size;
  }

  /** Opens the room now, or in its turn. */
  enter(channel: HubChannel): void {
    if (this.#line.size === 0 && this.#mayOpen()) {
      this.#open(channel);
      return;
    }
    this.#line.add(channel);
    if (this.#line.size === 1) this.#wait();
  }

  /** It has nobody any more; false where it does not wait. */
  leave(channel: HubChannel): boolean {
    return this.#line.delete(channel);
  }

  #mayOpen(): boolean {
    const now = this.#clock.now();
    if (now - this.#tickAt >= TICK_MS) {
      this.#tickAt = now;
      this.#opened = 0;
    }
    return ++this.#opened <= PER_TICK;
  }

  #wait() {
    this.#clock.after(TICK_MS, () => {
      // Anew first: what a room throws keeps no other from its turn.
      if (this.#line.size > 0) this.#wait();
      for (const channel of this.#line) {
        if (!this.#mayOpen()) return;
        this.#line.delete(channel);
        this.#open(channel);
      }
    });
  }
}
