import { BusUnconfirmed } from './bus.ts';

/**
 * Receipts of one connection: a PING that was answered says that the server has all that was sent before it. While one
 * is under way, all who come later share the next.
 */
export class Receipts {
  readonly #ping: () => Promise<void>;
  readonly #timeout: number;
  readonly #onTimeout: () => void;
  #underWay: Receipt | undefined;
  #next: Receipt | undefined;
  #timer: NodeJS.Timeout | undefined;
  #ended: string | undefined;

  /**
   * @param ping sends a PING; resolves with its PONG
   * @param timeout milliseconds that a PONG may take
   * @param onTimeout called when it took longer: the connection is to be dropped
   */
  constructor(ping: () => Promise<void>, timeout: number, onTimeout: () => void) {
    this.#ping = ping;
    this.#timeout = timeout;
    this.#onTimeout = onTimeout;
  }

  /** Resolves when the server has all that was sent before. Rejects with BusUnconfirmed where nobody can know. */
  confirmed(): Promise<void> {
    if (this.#ended !== undefined) return Promise.reject(new BusUnconfirmed(this.#ended));
    return this.#receipt().promise();
  }

  /** Calls `callback` when the server has all that was sent before, or never where the connection ends before. */
  whenAnswered(callback: () => void): void {
    if (this.#ended === undefined) this.#receipt().callbacks.push(callback);
  }

  /** The server refused something that was published: those who wait for its receipt are told `reason`. */
  refuse(reason: string): void {
    if (this.#underWay) this.#underWay.refusal = reason;
    if (this.#next) this.#next.refusal = reason;
  }

  /** The connection is lost: rejects all who wait, and those who come later. */
  end(reason: string): void {
    if (this.#ended !== undefined) return;
    this.#ended = reason;
    clearTimeout(this.#timer);
    const error = new BusUnconfirmed(reason);
    this.#underWay?.reject(error);
    this.#next?.reject(error);
    this.#underWay = undefined;
    this.#next = undefined;
  }

  #receipt(): Receipt {
    if (this.#underWay) {
      this.#next ??= new Receipt(performance.now() + this.#timeout);
      return this.#next;
    }
    const receipt = new Receipt(performance.now() + this.#timeout);
    this.#start(receipt);
    return receipt;
  }

  #start(receipt: Receipt): void {
    this.#underWay = receipt;
    // The server's word that it refused a message comes before the PONG but reaches us some microtasks later.
    this.#ping().then(
      () => setImmediate(() => this.#arrived(receipt)),
      () => {},
    );
    this.#timer ??= this.#watch(receipt.deadline);
  }

  #arrived(receipt: Receipt): void {
    if (this.#underWay !== receipt) return;
    const next = this.#next;
    this.#underWay = undefined;
    this.#next = undefined;
    if (next) this.#start(next);
    receipt.arrive();
  }

  /** One timer at a time, never cleared by a receipt in time: it looks again at the oldest one's deadline. */
  #watch(deadline: number): NodeJS.Timeout {
    const look = () => {
      this.#timer = undefined;
      if (!this.#underWay || this.#ended !== undefined) return;
      if (this.#underWay.deadline <= performance.now()) this.#onTimeout();
      else this.#timer = this.#watch(this.#underWay.deadline);
    };
    // After a pause of our own process timers come first: the PONG that has long been here is read before we judge.
    const wait = Math.max(1, Math.ceil(deadline - performance.now()));
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
