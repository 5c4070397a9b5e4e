import type { BusMessage, Handler, Receiver, Subscription } from './bus.ts';
import type { BusConnection } from './busConnection.ts';
import type { ConnectionSubscription, Subscriber } from './connectionSubscription.ts';
import type { Overlap } from './overlap.ts';
import type { Outcome } from './subscriptionGroups.ts';

/** What a subscription has its bus do. One object serves all of them. */
export type SubscriptionHooks = {
  /** The server refuses it: called again at each attempt. */
  refused(subscription: NatsSubscription): void;
  /** The server knows of it. */
  inForce(subscription: NatsSubscription): void;
  ended(subscription: NatsSubscription): void;
  /** Two connections receive at present: each message passes through this. Undefined otherwise. */
  overlap(): Overlap<BusConnection> | undefined;
  /** Its handler threw. */
  failed(error: unknown, subject: string): void;
};

let subscriptions = 0;

/** One subscription of the bus, on one connection after another. There is one for each room of a gateway. */
export class NatsSubscription implements Subscription, Subscriber<BusConnection> {
  readonly subject: string;
  readonly hasWildcard: boolean;
  readonly #number = ++subscriptions;
  readonly #handler: Handler | Receiver;
  readonly #onChange: ((inForce: boolean) => void) | undefined;
  readonly #hooks: SubscriptionHooks;
  /** Made for those who wait for it. */
  #ready: PromiseWithResolvers<void> | undefined = undefined;
  #settled = false;
  #ended = false;
  /** On the present connection. */
  #present: ConnectionSubscription<BusConnection> | undefined = undefined;
  /** On a connection that is to take over. */
  #next: ConnectionSubscription<BusConnection> | undefined = undefined;

  constructor(
    subject: string,
    handler: Handler | Receiver,
    hooks: SubscriptionHooks,
    onChange?: (inForce: boolean) => void,
  ) {
    this.subject = subject;
    this.hasWildcard = subject.includes('*');
    this.#handler = handler;
    this.#onChange = onChange;
    this.#hooks = hooks;
  }

  get ready(): Promise<void> {
    if (this.#settled) return Promise.resolve();
    this.#ready ??= Promise.withResolvers();
    return this.#ready.promise;
  }

  /** Subscribes on a connection, or once more if the server refused. */
  attach(connection: BusConnection): void {
    const before = this.#present;
    this.#present = connection.subscribe(this);
    before?.end();
  }

  /** Subscribes on a connection that is to take over, beside the present one. */
  prepare(next: BusConnection): void {
    this.#next = next.subscribe(this);
  }

  /** Ends it on the old connection if the next one takes over, otherwise on the next one. */
  choose(takenOver: boolean): void {
    if (takenOver) {
      this.#present?.end();
      this.#present = this.#next;
    } else this.#next?.end();
    this.#next = undefined;
  }

  /** The connection is lost. */
  lost(): void {
    this.#present = undefined;
  }

  /** It is refused, or was refused and comes into force. */
  changed(inForce: boolean): void {
    this.#onChange?.(inForce);
    if (typeof this.#handler !== 'function') this.#handler.changed(inForce);
  }

  /** Resolves `ready`: there is nothing more to wait for. */
  settle(): void {
    this.#settled = true;
    this.#ready?.resolve();
    this.#ready = undefined;
  }

  unsubscribe(): void {
    this.#ended = true;
    this.#hooks.ended(this);
    this.#present?.end();
    this.#next?.end();
    this.#present = undefined;
    this.#next = undefined;
    this.settle();
  }

  receive(from: BusConnection, bytes: Uint8Array, subject: string, message: BusMessage): void {
    if (this.#ended) return;
    const overlap = this.#hooks.overlap();
    if (overlap) overlap.receive(from, this.#number, (...of) => this.#deliver(...of), bytes, subject, message);
    else this.#deliver(bytes, subject, message);
  }

  outcome(of: ConnectionSubscription<BusConnection>, outcome: Outcome): void {
    if (this.#present !== of && this.#next !== of) return;
    if (outcome === 'refused') {
      this.#hooks.refused(this);
      return;
    }
    this.#hooks.inForce(this);
    this.settle();
  }

  /** An error of the handler is logged, and later messages are still delivered. */
  #deliver(bytes: Uint8Array, subject: string, message: BusMessage) {
    try {
      if (typeof this.#handler === 'function') this.#handler(bytes, subject, message);
      else this.#handler.deliver(bytes, subject, message);
    } catch (error) {
      this.#hooks.failed(error, subject);
    }
  }
}
