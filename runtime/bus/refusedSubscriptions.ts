/** Refused subscriptions are requested again after this long, milliseconds. */
const RETRY_MS = 1_000;
/** How many are requested in the first attempt. Each attempt after which nothing was refused doubles it. */
const FEWEST = 8;

/** What the retries need of a BusConnection, and of a NatsSubscription. */
type Connection = { whenSubscribed(callback: () => void): void };
type Retried<C> = { attach(connection: C): void };

/** Subscriptions that the server refuses (a limit, or a permission). They are requested again until it accepts them. */
export class RefusedSubscriptions<C extends Connection> {
  readonly #connection: () => C | 'busy' | undefined;
  /** In the order in which they are requested again. */
  readonly #refused = new Set<Retried<C>>();
  #timer: NodeJS.Timeout | undefined;
  #atOnce = FEWEST;

  /** @param connection the present connection; `busy` while another takes over; undefined if there is none */
  constructor(connection: () => C | 'busy' | undefined) {
    this.#connection = connection;
  }

  get size(): number {
    return this.#refused.size;
  }

  /** @returns false if it was refused before */
  add(subscription: Retried<C>): boolean {
    const isNew = !this.#refused.has(subscription);
    this.#refused.add(subscription);
    this.#atOnce = FEWEST;
    this.#retryLater();
    return isNew;
  }

  /** @returns false if it was not refused */
  delete(subscription: Retried<C>): boolean {
    return this.#refused.delete(subscription);
  }

  #retryLater() {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      const connection = this.#connection();
      if (this.#refused.size === 0 || !connection) return;
      if (connection === 'busy') return this.#retryLater();
      const some = [...this.#refused].slice(0, this.#atOnce);
      this.#atOnce *= 2;
      for (const subscription of some) {
        // To the end of the queue, so that the others are tried before it.
        this.#refused.delete(subscription);
        this.#refused.add(subscription);
        subscription.attach(connection);
      }
      connection.whenSubscribed(() => this.#retryLater());
    }, RETRY_MS).unref();
  }
}
