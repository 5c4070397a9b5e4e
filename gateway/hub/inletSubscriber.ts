import type { Bus, BusMessage, Receiver, Subscription } from '@pushcluster/runtime/bus/bus.ts';
import { STORED_HEADERS } from '@pushcluster/runtime/history/historyStore.ts';
import { isDeliveredAs } from '@pushcluster/runtime/history/historyStream.ts';
import type { ExceptionGuard } from './exceptionGuard.ts';
import type { Inlet } from './inlet.ts';

/** Connects inlets to the bus. An error of one message is counted and logged, and costs that message alone. */
export class InletSubscriber {
  readonly #bus: Bus;
  readonly #failed: (error: unknown) => void;

  constructor(bus: Bus, guard: ExceptionGuard) {
    this.#bus = bus;
    this.#failed = (error) => guard.caught('bus', error);
  }

  /** Calls `handler` with each message of a subject, which has no wildcard. */
  listen(subject: string, handler: (bytes: Uint8Array) => void): Subscription {
    return this.#bus.subscribe(subject, (bytes, _subject, message) => {
      try {
        refuseStray(subject, message);
        handler(bytes);
      } catch (error) {
        this.#failed(error);
      }
    });
  }

  /** Gives the inlet of `of` the messages of a subject, which has no wildcard, until `unsubscribe` is called. */
  subscribe<Of>(subject: string, of: Of, owner: InletOwner<Of>): InletSubscription<Of> {
    return new InletSubscription(this.#bus, subject, of, owner, this.#failed);
  }
}

/** Who subscribes. One object serves all subscriptions. */
export interface InletOwner<Of> {
  /** The inlet of `of`, as it is now. */
  inlet(of: Of): Inlet;
  /** The subscription has come into force, which the inlet was told before, or the bus refuses it. Not called after its end. */
  changed?(inForce: boolean, of: Of): void;
}

/** The subscription of an inlet. There is one for each room, so it is one object without closures. */
export class InletSubscription<Of> implements Receiver {
  readonly #of: Of;
  readonly #owner: InletOwner<Of>;
  readonly #failed: (error: unknown) => void;
  readonly #subscription: Subscription;
  #inlet: Inlet;
  #inForce = false;
  #ended = false;

  constructor(bus: Bus, subject: string, of: Of, owner: InletOwner<Of>, failed: (error: unknown) => void) {
    this.#of = of;
    this.#owner = owner;
    this.#failed = failed;
    this.#inlet = owner.inlet(of);
    this.#subscription = bus.subscribe(subject, this);
    void this.#subscription.ready.then(() => this.changed(true));
  }

  /** Resolves when the subscription is in force for the first time, and when it ends. Never rejects. */
  get ready(): Promise<void> {
    return this.#subscription.ready;
  }

  /** Another inlet takes the messages from now on: what the present one was made for has changed. */
  renew(): void {
    this.#inlet.close();
    this.#inlet = this.#owner.inlet(this.#of);
    if (this.#inForce) this.#inlet.subscribed();
  }

  unsubscribe(): void {
    this.#ended = true;
    this.#subscription.unsubscribe();
    this.#inlet.close();
  }

  deliver(bytes: Uint8Array, subject: string, message: BusMessage): void {
    try {
      refuseStray(subject, message);
      this.#inlet.accept(bytes, message);
    } catch (error) {
      this.#failed(error);
    }
  }

  changed(inForce: boolean): void {
    // A subscription that ended while the bus was unavailable becomes ready too.
    if (this.#ended) return;
    if (inForce) {
      this.#inForce = true;
      this.#inlet.subscribed();
    }
    this.#owner.changed?.(inForce, this.#of);
  }
}

/**
 * Refuses a push that was stored for another room. A gateway may read histories, and NATS sends the answer wherever the
 * request says: so a gateway that somebody has taken over could have others deliver old pushes, although it may publish
 * none.
 */
function refuseStray(subject: string, { headers }: BusMessage): void {
  const stored = headers?.get(STORED_HEADERS.subject);
  if (stored && !isDeliveredAs(stored, subject))
    throw new Error(`a push that was stored as ${stored} came on ${subject}: somebody has sent it there`);
}
