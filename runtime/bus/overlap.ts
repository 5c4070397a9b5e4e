import { hash } from 'node:crypto';
import type { Handler } from './bus.ts';

/** Bytes that are held at most; beyond, the overlap ends early. */
const MAX_HELD_BYTES = 64 * 1_048_576;

type Held = { handler: Handler; bytes: Uint8Array; subject: string; key: string };

/**
 * Two connections that hear the same: all that the old one brings goes on, and what the new one brings is held until
 * the old one has ended. Then those of it go on that the old one did not bring.
 */
export class Overlap<Source> {
  readonly full: Promise<void>;
  /** The new one. */
  readonly next: Source;
  readonly #setFull: () => void;
  /** How often the old one has brought a message that the new one has not yet. */
  readonly #brought = new Map<string, number>();
  #held: Held[] = [];
  #bytes = 0;

  constructor(next: Source) {
    this.next = next;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.full = promise;
    this.#setFull = resolve;
  }

  /** @param subscription tells apart several that hear the same subject */
  take(source: Source, subscription: number, handler: Handler, bytes: Uint8Array, subject: string): void {
    const key = `${subscription} ${hash('sha1', bytes, 'base64')} ${subject}`;
    if (source !== this.next) {
      this.#brought.set(key, (this.#brought.get(key) ?? 0) + 1);
      handler(bytes, subject);
      return;
    }
    this.#held.push({ handler, bytes, subject, key });
    this.#bytes += bytes.length;
    if (this.#bytes > MAX_HELD_BYTES) this.#setFull();
  }

  /** The old one has ended: what it did not bring goes on. */
  release(): void {
    const held = this.#held;
    this.#held = [];
    for (const { handler, bytes, subject, key } of held) {
      const brought = this.#brought.get(key) ?? 0;
      if (brought === 0) handler(bytes, subject);
      else this.#brought.set(key, brought - 1);
    }
  }
}
