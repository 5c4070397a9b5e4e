import { hash } from 'node:crypto';
import type { BusMessage, Handler } from './bus.ts';

/** Bytes of payloads and headers that are held at most. Beyond them the overlap ends early. */
const MAX_HELD_BYTES = 64 * 1_048_576;

type Held = { handler: Handler; bytes: Uint8Array; subject: string; message: BusMessage; key: string };

/**
 * Two connections that receive the same messages. Those of the old connection are delivered; those of the next one are
 * held until the old one has ended, and then delivered unless the old one brought them too.
 */
export class Overlap<Source> {
  /** Resolves when no more can be held. */
  readonly full: Promise<void>;
  readonly next: Source;
  readonly #setFull: () => void;
  /** How often the old connection brought a message that the next one has not brought yet. */
  readonly #brought = new Map<string, number>();
  #held: Held[] = [];
  #bytes = 0;

  constructor(next: Source) {
    this.next = next;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.full = promise;
    this.#setFull = resolve;
  }

  /** @param subscription tells apart several subscriptions of one subject */
  receive(
    source: Source,
    subscription: number,
    handler: Handler,
    bytes: Uint8Array,
    subject: string,
    message: BusMessage,
  ): void {
    const headers = message.headers?.toString() ?? '';
    const key = `${subscription} ${hash('sha1', bytes, 'base64')} ${subject} ${headers && hash('sha1', headers, 'base64')}`;
    if (source !== this.next) {
      this.#brought.set(key, (this.#brought.get(key) ?? 0) + 1);
      handler(bytes, subject, message);
      return;
    }
    this.#held.push({ handler, bytes, subject, message, key });
    this.#bytes += bytes.length + headers.length;
    if (this.#bytes > MAX_HELD_BYTES) this.#setFull();
  }

  /** The old connection has ended: delivers what it did not bring. */
  release(): void {
    const held = this.#held;
    this.#held = [];
    for (const { handler, bytes, subject, message, key } of held) {
      const brought = this.#brought.get(key) ?? 0;
      if (brought === 0) handler(bytes, subject, message);
      else this.#brought.set(key, brought - 1);
    }
  }
}
