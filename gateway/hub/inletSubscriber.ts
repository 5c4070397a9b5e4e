import type { Bus, BusMessage, Receiver, Subscription } from '@pushcluster/runtime/bus/bus.ts';
import { STORED_HEADERS } from '@pushcluster/runtime/history/historyStore.ts';
import { isDeliveredAs } from '@pushcluster/runtime/history/historyStream.ts';
import type { ExceptionGuard } from './exceptionGuard.ts';
import type { Inlet } from './inlet.ts';
import { InletQueue } from './inletQueue.ts';

/** Connects inlets to the bus. An error of one message is counted and logged, and costs that message alone. */
export class InletSubscriber {
  readonly #bus: Bus;
  readonly #failed: (error: unknown) => void;

  constructor(bus: Bus, guard: ExceptionGuard) {
    this.#bus = bus;
    this.#failed = (error) => guard.caught('bus', error);
  }

  /** Calls `handler` with each message of a subject. */
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

  /**
   * Gives an inlet the messages of a subject, until `unsubscribe` is called.
   * @param onChange called with true when the subscription comes into force, and with false if the bus refuses it;
   * never after `unsubscribe`. The same function may serve many subscriptions
   */
  subscribe<I extends Inlet>(subject: string, inlet: I, onChange?: OnChange<I>): InletSubscription<I> {
    return new InletSubscription(this.#bus, subject, inlet, this.#failed, onChange);
  }
}

type OnChange<I> = (inForce: boolean, inlet: I) => void;

/** The subscription of an inlet. There is one for each room, so it is one object without closures. */
export class InletSubscription<I extends Inlet> extends InletQueue<I> implements Receiver {
  readonly #subject: string;
  readonly #onChange: OnChange<I> | undefined;
  readonly #subscription: Subscription;

  constructor(
    bus: Bus,
    subject: string,
    inlet: I,
    failed: (error: unknown) => void,
    onChange: OnChange<I> | undefined,
  ) {
    super(inlet, failed);
    this.#subject = subject;
    this.#onChange = onChange;
    this.#subscription = bus.subscribe(subject, this);
    void this.#subscription.ready.then(() => this.changed(true));
  }

  /** Resolves when the subscription is in force for the first time, and when it ends. Never rejects. */
  get ready(): Promise<void> {
    return this.#subscription.ready;
  }

  unsubscribe(): void {
    this.close();
    this.#subscription.unsubscribe();
    this.inlet.close();
  }

  deliver(bytes: Uint8Array, _subject: string, message: BusMessage): void {
    try {
      refuseStray(this.#subject, message);
      this.receive(bytes, message);
    } catch (error) {
      this.failed(error);
    }
  }

  changed(inForce: boolean): void {
    // A subscription that ended while the bus was unavailable becomes ready too.
    if (this.isClosed) return;
    if (inForce) this.inlet.subscribed();
    this.#onChange?.(inForce, this.inlet);
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
