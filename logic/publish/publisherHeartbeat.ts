import { encodePush } from '@pushcluster/protocol/push.ts';
import type { Bus } from '@pushcluster/runtime/bus/bus.ts';
import { NO_ITEMS } from './messageSplitter.ts';

/** A message follows a heartbeat that is at most this old, milliseconds: so gateways know what was sent after they subscribed. */
const MAX_AGE_MS = 100;

export type Clocks = {
  /** Milliseconds since the epoch. */
  now: () => number;
  /** Milliseconds of a clock that never goes back. */
  monotonic: () => number;
};

/**
 * The numbered heartbeats of this process. A gateway that subscribes to a room notes the last heartbeat of each publisher:
 * whatever was published after a later one is meant for it.
 */
export class PublisherHeartbeat {
  readonly #bus: Bus;
  readonly #subject: string;
  readonly #process: string;
  readonly #clocks: Clocks;
  #number = 0;
  #sentAt = Number.NEGATIVE_INFINITY;

  constructor(bus: Bus, subject: string, process: string, clocks: Clocks) {
    this.#bus = bus;
    this.#subject = subject;
    this.#process = process;
    this.#clocks = clocks;
  }

  /** Number of the last heartbeat that was sent; 0 before the first. */
  get number(): number {
    return this.#number;
  }

  /** Sends a heartbeat if the last one is too old for a message to follow. Throws BusUnavailable. */
  refresh(): void {
    if (this.#clocks.monotonic() - this.#sentAt >= MAX_AGE_MS) this.send();
  }

  /** Sends the next heartbeat. Throws BusUnavailable: then the number has not advanced. */
  send(): void {
    const number = this.#number + 1;
    const head = { counter: number, at: this.#clocks.now(), begun: 0, beat: number, mark: number, first: number };
    this.#bus.publish(
      this.#subject,
      encodePush({ ...head, publisher: this.#process, urgent: false, id: '', items: NO_ITEMS }),
    );
    this.#number = number;
    this.#sentAt = this.#clocks.monotonic();
  }
}
