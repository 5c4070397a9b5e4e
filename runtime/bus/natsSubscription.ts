import type { Handler, Subscription } from './bus.ts';
import type { BusConnection } from './busConnection.ts';
import type { Overlap } from './overlap.ts';

export type SubscriptionHooks = {
  /** The server refuses it: called again at each attempt. */
  refused(): void;
  /** The server knows of it. */
  inForce(): void;
  ended(): void;
  /** Two connections receive at present: each message passes through this. Undefined otherwise. */
  overlap(): Overlap<BusConnection> | undefined;
};

let subscriptions = 0;

/** One subscription of the bus, on one connection after another. */
export class NatsSubscription implements Subscription {
  readonly ready: Promise<void>;
  readonly #number = ++subscriptions;
  readonly #subject: string;
  readonly #wildcard: boolean;
  readonly #handler: Handler;
  readonly #hooks: SubscriptionHooks;
  readonly #resolveReady: () => void;
  #ended = false;
  /** Ends it on the present connection. */
  #detach: (() => void) | undefined;
  /** Ends it on a connection that is to take over. */
  #detachNext: (() => void) | undefined;

  constructor(subject: string, handler: Handler, hooks: SubscriptionHooks) {
    this.#subject = subject;
    this.#wildcard = subject.includes('*');
    this.#handler = handler;
    this.#hooks = hooks;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.ready = promise;
    this.#resolveReady = resolve;
  }

  /** Subscribes on a connection, or once more if the server refused. */
  attach(connection: BusConnection): void {
    const detach = this.#subscribe(connection);
    this.#detach?.();
    this.#detach = detach;
  }

  /** Subscribes on a connection that is to take over, beside the present one. */
  prepare(next: BusConnection): void {
    this.#detachNext = this.#subscribe(next);
  }

  /** Ends it on the old connection if the next one takes over, otherwise on the next one. */
  choose(takenOver: boolean): void {
    if (takenOver) {
      this.#detach?.();
      this.#detach = this.#detachNext;
    } else this.#detachNext?.();
    this.#detachNext = undefined;
  }

  /** The connection is lost. */
  lost(): void {
    this.#detach = undefined;
  }

  /** Resolves `ready`: there is nothing more to wait for. */
  settle(): void {
    this.#resolveReady();
  }

  unsubscribe(): void {
    this.#ended = true;
    this.#hooks.ended();
    this.#detach?.();
    this.#detachNext?.();
    this.#detach = undefined;
    this.#detachNext = undefined;
    this.settle();
  }

  #subscribe(connection: BusConnection): () => void {
    const receive: Handler = (bytes, subject, message) => {
      if (this.#ended) return;
      const overlap = this.#hooks.overlap();
      if (overlap) overlap.receive(connection, this.#number, this.#handler, bytes, subject, message);
      else this.#handler(bytes, subject, message);
    };
    const detach = connection.subscribe(this.#subject, this.#wildcard, receive, (outcome) => {
      if (this.#detach !== detach && this.#detachNext !== detach) return;
      if (outcome === 'refused') return this.#hooks.refused();
      this.#hooks.inForce();
      this.settle();
    });
    return detach;
  }
}
