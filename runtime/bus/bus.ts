import type { Validity } from '../certificateMetrics.ts';
import type { BusHeaders, PublishedHeaders } from './headers.ts';

/**
 * What happens to the connection of a bus. `connected` is emitted for the first connection too, once the server knows of
 * all subscriptions. A message may arrive a moment earlier.
 */
export type BusEvent = { type: 'connected'; reconnects: number } | { type: 'disconnected'; reason: string };

/** What a message carries beside its bytes. */
export type BusMessage = {
  /** Decoded when they are first read. Undefined if the message was published without headers. */
  readonly headers?: BusHeaders | undefined;
  /** Subject that the publisher listens on for answers. */
  readonly reply?: string | undefined;
};

/**
 * Called with one message. It must not throw. `bytes` stay valid and unchanged afterwards. `message` is the object that
 * the bus has anyway: nothing is allocated for a handler that reads no headers.
 */
export type Handler = (bytes: Uint8Array, subject: string, message: BusMessage) => void;

/** A handler and an `onChange` as one object: a gateway has one for each room, and no functions of its own for each. */
export interface Receiver {
  /** As a Handler. */
  deliver(bytes: Uint8Array, subject: string, message: BusMessage): void;
  /** As `onChange` of Bus.subscribe(). */
  changed(inForce: boolean): void;
}

/** The handler of what was given to Bus.subscribe(). */
export function handlerOf(receiver: Handler | Receiver): Handler {
  return typeof receiver === 'function' ? receiver : (...of) => receiver.deliver(...of);
}

export type Subscription = {
  /**
   * Resolves when the server knows of the subscription: messages published from then on arrive. If there is no
   * connection, or the server does not permit the subject yet, that is later. Also resolves with `unsubscribe()` and
   * `close()`, since then there is nothing more to wait for. Never rejects.
   */
  readonly ready: Promise<void>;
  unsubscribe(): void;
};

/** Nothing was sent, and it will not be delivered later. */
export class BusUnavailable extends Error {
  override name = 'BusUnavailable';
}

/** Nothing was sent, because more than MAX_UNCONFIRMED_BYTES wait for the server's receipt. */
export class BusOverloaded extends BusUnavailable {
  override name = 'BusOverloaded';
}

/**
 * Limit of bytes that were sent and not confirmed: some 50 ms of a saturated 10 Gbit/s link. Beyond it the server does not
 * keep up, and each further message would only grow the memory of this process.
 */
export const MAX_UNCONFIRMED_BYTES = 64 * 1_048_576;

/** It may have been sent, but there is no receipt for it: it may or may not be delivered. */
export class BusUnconfirmed extends Error {
  override name = 'BusUnconfirmed';
}

/**
 * Publish and subscribe by subject, at most once: a subscriber does not get what is published while it is disconnected.
 * Messages of one publisher on one subject stay in order. NatsBus and LocalBus implement it and pass the same tests.
 */
export interface Bus {
  readonly connected: boolean;
  /** Largest message in bytes. */
  readonly maxPayload: number;
  /**
   * Sends now, or throws: BusUnavailable while disconnected, BusOverloaded while too much is unconfirmed, RangeError
   * if bytes and headers together are over maxPayload, TypeError if a header can't be sent as it is. Never buffers for
   * later.
   * @param reply subject on which the publisher listens for answers. If nobody subscribes to `subject`, the server
   * answers there at once (NO_RESPONDERS)
   */
  publish(subject: string, bytes: Uint8Array, headers?: PublishedHeaders, reply?: string): void;
  /**
   * Resolves when the server has all that was published before. One receipt serves all who wait. It is about the present
   * connection, so call it in the same turn of the event loop as publish().
   * Rejects with BusUnconfirmed if there is no connection, the connection is lost, the receipt timeout ends first, or the
   * server refused a message.
   */
  flush(): Promise<void>;
  /**
   * Subscribes from now until `unsubscribe()`, across reconnects. `*` matches one token. A subscription that the server
   * refuses is requested again until it accepts it. `onChange` is called with false when it is refused, and with true
   * when a refused one comes into force. It is not called for reconnects: those are events.
   */
  subscribe(subject: string, handler: Handler | Receiver, onChange?: (inForce: boolean) => void): Subscription;
  /** Subscriptions that the server refuses at present. */
  readonly refused?: number;
  /** Validity of the client certificate that it connects with, if there is one. */
  readonly certificate?: Validity | undefined;
  /** Calls `listener` at each change of the connection, until the returned function is called. */
  onEvent(listener: (event: BusEvent) => void): () => void;
  /** Sends what was published, then closes. Later calls of publish() throw BusUnavailable. */
  close(): Promise<void>;
}

/** Throws TypeError if `subject` is not a subject: tokens joined by dots, without white space. */
export function checkSubject(subject: string): void {
  if (subject === '' || /\s/.test(subject)) throw new TypeError(`"${subject}" is not a bus subject`);
}
