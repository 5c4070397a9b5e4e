import type { PushHeader } from '@pushcluster/protocol/push.ts';

/** Where a message stands in its publisher's numbering of a subject. */
export type Numbering = Pick<PushHeader, 'publisher' | 'counter' | 'at' | 'begun' | 'beat' | 'mark' | 'first'>;

/** One bus message, before it has its number. */
export type Message = {
  /** Items in the message: the subject's counter advances by as many. */
  itemCount: number;
  /** Whether the push has an id, so that the backend can repeat it without harm. */
  retriable: boolean;
  encode(numbering: Numbering): Uint8Array;
};

/**
 * How messages are published and confirmed. Above this interface a push is split into messages; below it they are
 * numbered, sent, and acknowledged by the bus.
 */
export interface MessagePublisher {
  /**
   * Publishes `messages` on `subject`, in order and with no other message between them. It sends before it returns, and
   * resolves when the bus has confirmed every message.
   * Rejects with BusUnavailable (BusOverloaded is one) if nothing was sent, with BusUnconfirmed if something may have been.
   */
  publish(subject: string, messages: readonly Message[]): Promise<void>;
}
