import { randomBytes } from 'node:crypto';
import { type Clock, systemClock } from '../clock.ts';
import { type Bus, BusUnavailable, BusUnconfirmed, type Subscription } from './bus.ts';
import { type BusHeaders, NO_RESPONDERS, type PublishedHeaders } from './headers.ts';

/** One message of an answer. */
export type Reply = { bytes: Uint8Array; headers: BusHeaders | undefined };

export type RequestOptions = {
  headers?: PublishedHeaders;
  /** Milliseconds from the request to the last message of its answer. */
  timeout: number;
  /** Whether a message is the last one of the answer. Default: the first message is. */
  isLast?: (reply: Reply) => boolean;
};

type Pending = {
  subject: string;
  replies: Reply[];
  isLast: (reply: Reply) => boolean;
  resolve(replies: Reply[]): void;
  reject(error: Error): void;
  cancelTimer(): void;
};

/**
 * Requests over the bus, each with one or several messages as its answer. All share one subscription, which the first
 * request makes: a process that makes none needs no permission for it.
 */
export class BusRequests {
  readonly #bus: Bus;
  readonly #inbox: string;
  readonly #clock: Clock;
  #subscription: Subscription | undefined;
  /** The server has accepted the subscription once. Later connections subscribe before they send. */
  #hearsAnswers = false;
  readonly #pending = new Map<string, Pending>();
  readonly #stopListening: () => void;
  #next = 0;

  /** @param inbox subject below which answers arrive; the role needs the permission to subscribe to `<inbox>.>` */
  constructor(bus: Bus, inbox: string, clock: Clock = systemClock) {
    this.#bus = bus;
    // Two processes must not get each other's answers.
    this.#inbox = `${inbox}.${randomBytes(9).toString('base64url')}`;
    this.#clock = clock;
    this.#stopListening = bus.onEvent(({ type }) => {
      if (type === 'disconnected') this.#rejectAll('the connection to the bus was lost before the answer');
    });
  }

  /** Requests without their whole answer. */
  get pending(): number {
    return this.#pending.size;
  }

  /**
   * Sends a request. Rejects with BusUnavailable if nothing was sent or nobody listens on `subject`: the request has had
   * no effect. Rejects with BusUnconfirmed if the answer did not arrive, or not whole: the request may have had its effect.
   */
  async request(subject: string, bytes: Uint8Array, options: RequestOptions): Promise<Reply[]> {
    const { timeout, headers, isLast = () => true } = options;
    const began = this.#clock.now();
    if (!this.#bus.connected) throw new BusUnavailable('the bus is not connected');
    this.#subscription ??= this.#bus.subscribe(`${this.#inbox}.*`, (answer, from, message) =>
      this.#receive(from.slice(this.#inbox.length + 1), { bytes: answer, headers: message.headers }),
    );
    if (!this.#hearsAnswers) await this.#untilInForce(this.#subscription, timeout);
    const token = (this.#next++).toString(36);
    const { promise, resolve, reject } = Promise.withResolvers<Reply[]>();
    const left = Math.max(0, began + timeout - this.#clock.now());
    const cancelTimer = this.#clock.after(left, () =>
      this.#settle(token)?.reject(new BusUnconfirmed(`no answer on ${subject} within ${timeout} ms`)),
    );
    this.#pending.set(token, { subject, replies: [], isLast, resolve, reject, cancelTimer });
    try {
      this.#bus.publish(subject, bytes, headers, `${this.#inbox}.${token}`);
    } catch (error) {
      this.#settle(token);
      throw error;
    }
    return promise;
  }

  /** Rejects what is pending with BusUnconfirmed. */
  close(): void {
    this.#stopListening();
    this.#subscription?.unsubscribe();
    this.#rejectAll('requests were closed before the answer');
  }

  /** Waits until answers can arrive. */
  async #untilInForce(subscription: Subscription, timeout: number) {
    const { promise, resolve } = Promise.withResolvers<'late'>();
    const cancel = this.#clock.after(timeout, () => resolve('late'));
    const outcome = await Promise.race([subscription.ready, promise]);
    cancel();
    if (outcome === 'late')
      throw new BusUnavailable(`the server has not accepted the subscription to ${this.#inbox}.*`);
    this.#hearsAnswers = true;
  }

  #receive(token: string, reply: Reply) {
    const pending = this.#pending.get(token);
    // It has been answered, or it is too late.
    if (!pending) return;
    if (reply.headers?.code === NO_RESPONDERS) {
      this.#settle(token)?.reject(new BusUnavailable(`nobody listens on ${pending.subject}`));
      return;
    }
    pending.replies.push(reply);
    if (pending.isLast(reply)) this.#settle(token)?.resolve(pending.replies);
  }

  #settle(token: string): Pending | undefined {
    const pending = this.#pending.get(token);
    this.#pending.delete(token);
    pending?.cancelTimer();
    return pending;
  }

  #rejectAll(reason: string) {
    for (const token of [...this.#pending.keys()]) this.#settle(token)?.reject(new BusUnconfirmed(reason));
  }
}
