import type { Msg } from 'nats';
import type { BusMessage } from './bus.ts';
import { DirectSubscription } from './directSubscription.ts';
import type { Outcome, SubscriptionRequest } from './subscriptionGroups.ts';

/** Whom a subscription is for: a subscription of the bus, which is on one connection after another. */
export interface Subscriber<Connection extends Subscribing> {
  readonly subject: string;
  /** The subject has a wildcard. */
  readonly hasWildcard: boolean;
  receive(from: Connection, bytes: Uint8Array, subject: string, message: BusMessage): void;
  /** The server has answered, or withdraws a permission later. */
  outcome(of: ConnectionSubscription<Connection>, outcome: Outcome): void;
}

/** The effects of a subscription on its connection. */
export interface Subscribing {
  /** Sends it, unless the connection is lost. */
  send(subscription: DirectSubscription): void;
  /** Ends it, sent or not. */
  unsubscribe(subscription: DirectSubscription & SubscriptionRequest): void;
}

/**
 * A subscription on one connection. There is one for each room of a gateway, so it is one object, and has no closures.
 */
export class ConnectionSubscription<Connection extends Subscribing>
  extends DirectSubscription
  implements SubscriptionRequest
{
  refused = false;
  readonly #connection: Connection;
  readonly #subscriber: Subscriber<Connection>;
  #known = false;

  constructor(connection: Connection, subscriber: Subscriber<Connection>) {
    super(subscriber.subject);
    this.#connection = connection;
    this.#subscriber = subscriber;
  }

  send(): void {
    this.#connection.send(this);
  }

  outcome(outcome: Outcome): void {
    this.#known = true;
    this.#subscriber.outcome(this, outcome);
  }

  end(): void {
    this.#connection.unsubscribe(this);
  }

  override callback(error: Error | null, message: Msg): void {
    if (error) {
      this.refused = true;
      if (this.#known) this.outcome('refused');
      return;
    }
    // Without a wildcard the subject is known and need not be decoded from each message.
    const subject = this.#subscriber.hasWildcard ? message.subject : this.subject;
    this.#subscriber.receive(this.#connection, message.data, subject, message);
  }
}
