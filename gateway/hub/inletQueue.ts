import type { BusMessage } from '@pushcluster/runtime/bus/bus.ts';
import type { Inlet } from './inlet.ts';

type Waiting = { bytes: Uint8Array; message: BusMessage };

/**
 * Gives an inlet its messages one at a time, in order. While the inlet is busy with one, those that follow wait here.
 */
export class InletQueue<I extends Inlet = Inlet> {
  protected readonly inlet: I;
  protected readonly failed: (error: unknown) => void;
  /** Messages that wait; undefined while the inlet is not busy. */
  #waiting: Waiting[] | undefined = undefined;
  #closed = false;

  /** @param failed an error with which a promise of the inlet was rejected: the messages after it still go on */
  constructor(inlet: I, failed: (error: unknown) => void) {
    this.inlet = inlet;
    this.failed = failed;
  }

  /** Throws what the inlet throws at once. */
  receive(bytes: Uint8Array, message: BusMessage): void {
    if (this.#waiting) {
      this.#waiting.push({ bytes, message });
      return;
    }
    const busy = this.inlet.accept(bytes, message);
    if (busy) void this.#hold(busy);
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  /** What waits goes no further. */
  close(): void {
    this.#closed = true;
  }

  async #hold(busy: Promise<void>) {
    const waiting: Waiting[] = [];
    this.#waiting = waiting;
    await busy.catch(this.failed);
    // What comes meanwhile is appended, and is reached by the same loop.
    for (const { bytes, message } of waiting) {
      if (this.#closed) break;
      try {
        await this.inlet.accept(bytes, message);
      } catch (error) {
        this.failed(error);
      }
    }
    this.#waiting = undefined;
  }
}
