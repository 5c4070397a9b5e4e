import type { Msg, NatsConnection } from 'nats';
import { NatsConnectionImpl, type ProtocolHandler, type SubscriptionImpl } from 'nats/lib/nats-base-client.js';

/**
 * A subscription as nats.js keeps it in its table: what it reads, and the methods that it calls. Its own class has
 * promises, an iterator and closures besides, 700 bytes for each room of a gateway.
 *
 * Built on internals of nats.js: runtime/README.md, "Internals".
 */
export abstract class DirectSubscription {
  readonly subject: string;
  /** Its number on the connection. */
  sid = 0;
  received = 0;
  max: number | undefined = undefined;
  #closed = false;

  constructor(subject: string) {
    this.subject = subject;
  }

  /** Called with each message. @param error the server does not permit the subject; there is no message then */
  abstract callback(error: Error | null, message: Msg): void;

  isClosed(): boolean {
    return this.#closed;
  }

  close(): void {
    this.#closed = true;
  }
}

/** Subscribes. Does nothing if the connection is closed. */
export function subscribe(connection: NatsConnection, subscription: DirectSubscription): void {
  const protocol = protocolOf(connection);
  if (!protocol.isClosed()) protocol.subscribe(subscription as unknown as SubscriptionImpl);
}

/** Ends a subscription. Does nothing if it has ended, or the connection is closed. */
export function unsubscribe(connection: NatsConnection, subscription: DirectSubscription): void {
  const protocol = protocolOf(connection);
  if (protocol.isClosed() || subscription.isClosed()) return;
  protocol.unsubscribe(subscription as unknown as SubscriptionImpl);
}

function protocolOf(connection: NatsConnection): ProtocolHandler {
  if (!(connection instanceof NatsConnectionImpl)) throw new TypeError('not a connection of nats.js');
  return connection.protocol;
}
