/**
 * What happens to a bus connection. `connected` comes at the first connection too, once the server knows of all
 * subscriptions: a message may arrive a moment before it.
 */
export type BusEvent = { type: 'connected'; reconnects: number } | { type: 'disconnected'; reason: string };

/** Called with one message. It must not throw; `bytes` stay valid and unchanged afterwards. */
export type Handler = (bytes: Uint8Array, subject: string) => void;

export type Subscription = {
  /**
   * Resolves when the server knows of the subscription: what is published from then on arrives. Resolves late, after a
   * reconnect, where there is no connection now, or where the server doesn't permit the subject yet. Also resolves with
   * `unsubscribe()` and `close()`: then there is nothing more to wait for. Never rejects.
   */
  readonly ready: Promise<void>;
  unsubscribe(): void;
};

/** Nothing was sent: it will not be delivered later. */
export class BusUnavailable extends Error {
  override name = 'BusUnavailable';
}

/**
 * As BusUnavailable, for another reason: what was sent before is more than MAX_UNCONFIRMED_BYTES, and the server has yet
 * to confirm it.
 */
export class BusOverloaded extends BusUnavailable {
  override name = 'BusOverloaded';
}

/**
 * Bytes sent but not confirmed, at most: beyond, the server no longer reads, and each further message would only grow
 * our own memory. Some 50 ms of a full 10 Gbit/s link.
 */
export const MAX_UNCONFIRMED_BYTES = 64 * 1_048_576;

/** It may have been sent, but there is no receipt for it: delivered or not, nobody here can know. */
export class BusUnconfirmed extends Error {
  override name = 'BusUnconfirmed';
}

/**
 * Publish and subscribe by subject; order is kept per publisher and subject. At most once: what is published while a
 * subscriber is away is gone for it. Two kinds, held to the same tests: NATS, and in-process.
 */
export interface Bus {
  readonly connected: boolean;
  /** Largest message in bytes. */
  readonly maxPayload: number;
  /**
   * Sends now, or throws BusUnavailable while disconnected and BusOverloaded while too much is unconfirmed. Never
   * buffers for later. Throws RangeError over maxPayload.
   */
  publish(subject: string, bytes: Uint8Array): void;
  /**
   * Resolves when the server has all that was published before: one receipt is shared by all who wait. It is about the
   * present connection: call it in the same turn as publish.
   * Rejects with BusUnconfirmed where the connection is lost or away, no receipt came within the receipt timeout, or
   * the server refused a message.
   */
  flush(): Promise<void>;
  /**
   * Subscribes from now until `unsubscribe()`, across reconnects. `*` matches one token. A subscription that the server
   * refuses is asked for again and again: `onChange` is called with false where it is refused, and with true where one
   * that was refused has come into force. A bus that goes away and comes back is told by events alone.
   */
  subscribe(subject: string, handler: Handler, onChange?: (inForce: boolean) => void): Subscription;
  /** Subscriptions that the server refuses at present. */
  readonly refused?: number;
  /** Calls `listener` at each change of connection, until the returned function is called. */
  onEvent(listener: (event: BusEvent) => void): () => void;
  /** Sends what is published, then closes. Later calls of publish throw BusUnavailable. */
  close(): Promise<void>;
}

/** Throws TypeError where `subject` is none: tokens joined by dots, without white space. */
export function checkSubject(subject: string): void {
  if (subject === '' || /\s/.test(subject)) throw new TypeError(`"${subject}" is not a bus subject`);
}
