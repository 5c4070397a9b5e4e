import { systemClock } from '../clock.ts';
import { BusUnconfirmed } from './bus.ts';

/**
 * Receipts of one connection. The answer to a PING says that the server has all that was sent before it. All callers of a
 * turn of the event loop share one receipt, whose PING leaves at the end of the turn, together with what they published.
 */
export class Receipts {
  readonly #ping: () => Promise<void>;
  readonly #timeout: number;
  readonly #onTimeout: () => void;
  /** PINGs under way, the oldest first. */
  readonly #pending: Receipt[] = [];
  /** The receipt of this turn. */
  #next: Receipt | undefined;
  #timer: NodeJS.Timeout | undefined;
  #ended: string | undefined;

  /**
   * @param ping sends what was published and a PING; resolves with its PONG
   * @param timeout milliseconds that a PONG may take
   * @param onTimeout called if it took longer: drop the connection
   */
  constructor(ping: () => Promise<void>, timeout: number, onTimeout: () => void) {
    this.#ping = ping;
    this.#timeout = timeout;
    this.#onTimeout = onTimeout;
  }

  /** Resolves when the server has all that was sent before. Rejects with BusUnconfirmed if that cannot be known. */
  confirmed(): Promise<void> {
    if (this.#ended !== undefined) return Promise.reject(new BusUnconfirmed(this.#ended));
    return this.#receipt().promise();
  }

  /** Calls `callback` when the server has all that was sent before, or never if the connection ends first. */
  whenAnswered(callback: () => void): void {
    if (this.#ended === undefined) this.#receipt().callbacks.push(callback);
  }

  /** Sends the PING that is asked for, if there is one, rather than at the end of this turn. */
  send(): void {
    const receipt = this.#next;
    if (!receipt) return;
    this.#next = undefined;
    this.#pending.push(receipt);
    // The server sends the refusal of a message before the PONG, but nats.js reports it some microtasks later.
    this.#ping().then(
      () => setImmediate(() => this.#arrived(receipt)),
      () => {},
    );
    this.#timer ??= this.#watch(receipt.deadline);
  }

  /** The server refused a message: the receipts that include it reject with `reason`. */
  refuse(reason: string): void {
    for (const receipt of this.#pending) receipt.refusal = reason;
    if (this.#next) this.#next.refusal = reason;
  }

  /** The connection is lost: rejects all receipts, present and future. */
  end(reason: string): void {
    if (this.#ended !== undefined) return;
    this.#ended = reason;
    clearTimeout(this.#timer);
    const error = new BusUnconfirmed(reason);
    for (const receipt of this.#pending.splice(0)) receipt.reject(error);
    this.#next?.reject(error);
    this.#next = undefined;
  }

  #receipt(): Receipt {
    if (!this.#next) {
      this.#next = new Receipt(systemClock.now() + this.#timeout);
      setImmediate(() => this.send());
    }
    return this.#next;
  }

  #arrived(receipt: Receipt): void {
    // PONGs come in the order of their PINGs. A lost connection has no receipts any more.
    if (this.#pending[0] !== receipt) return;
    this.#pending.shift();
    receipt.arrive();
  }

  /** One timer at a time. A receipt in time does not clear it: it checks the deadline of the oldest pending one again. */
  #watch(deadline: number): NodeJS.Timeout {
    const look = () => {
      this.#timer = undefined;
      const oldest = this.#pending[0];
      if (!oldest) return;
      if (oldest.deadline <= systemClock.now()) this.#onTimeout();
      else this.#timer = this.#watch(oldest.deadline);
    };
    // After this process was stopped, timers run before sockets are read: read a PONG that has arrived before judging.
    const wait = Math.max(1, Math.ceil(deadline - systemClock.now()));
    return setTimeout(() => setImmediate(() => setImmediate(look)), wait).unref();
  }
}

class Receipt {
  readonly deadline: number;
  readonly callbacks: (() => void)[] = [];
  refusal: string | undefined;
  #waiters: PromiseWithResolvers<void> | undefined;

  constructor(deadline: number) {
    this.deadline = deadline;
  }

  promise(): Promise<void> {
    this.#waiters ??= Promise.withResolvers();
    return this.#waiters.promise;
  }

  arrive(): void {
    for (const callback of this.callbacks) callback();
    if (this.refusal === undefined) this.#waiters?.resolve();
    else this.#waiters?.reject(new BusUnconfirmed(this.refusal));
  }

  reject(error: Error): void {
    this.#waiters?.reject(error);
  }
}
