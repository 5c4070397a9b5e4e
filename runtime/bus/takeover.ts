import { pause, systemClock } from '../clock.ts';
import { BusOverloaded, checkSubject, MAX_UNCONFIRMED_BYTES } from './bus.ts';
import { type BusConnection, countedBytes, type Outgoing } from './busConnection.ts';
import type { NatsSubscription } from './natsSubscription.ts';
import { Overlap } from './overlap.ts';

/**
 * Both connections receive for this long, milliseconds: a server of a cluster learns of a subscription at another server
 * some moments after that one has confirmed it.
 */
const OVERLAP_MS = 1_000;
/**
 * Time between the last publish on the old connection and the first on the next one, milliseconds: the paths of the two
 * through the cluster differ, and the order must hold.
 */
const PUBLISH_PAUSE_MS = 100;

/** `size`: bytes as countedBytes() counts them. */
type HeldPublishes = { messages: Outgoing[]; size: number; over: Promise<void> };

/** One connection takes over from another, so that no message is missed, repeated, reordered or refused. */
export class Takeover {
  readonly #old: BusConnection;
  readonly #next: BusConnection;
  readonly #subscriptions: Iterable<NatsSubscription>;
  readonly #signal: AbortSignal;
  #overlap: Overlap<BusConnection> | undefined;
  #held: HeldPublishes | undefined;
  /** Only the next connection receives from here on. */
  #chosen = false;

  /** @param signal aborts when the bus is closed: nothing waits then */
  constructor(old: BusConnection, next: BusConnection, subscriptions: Iterable<NatsSubscription>, signal: AbortSignal) {
    this.#old = old;
    this.#next = next;
    this.#subscriptions = subscriptions;
    this.#signal = signal;
  }

  /** While both connections receive. */
  get overlap(): Overlap<BusConnection> | undefined {
    return this.#overlap;
  }

  /** Subscribes on what receives at present: the old connection, both, or the next one. */
  attach(subscription: NatsSubscription): void {
    subscription.attach(this.#chosen ? this.#next : this.#old);
    if (this.#overlap && !this.#chosen) subscription.prepare(this.#next);
  }

  /** Resolves when publishing goes on; undefined unless it is on hold between the two connections. */
  get publishing(): Promise<void> | undefined {
    return this.#held?.over;
  }

  /** Keeps a message until publishing goes on. Throws as Bus.publish() does. */
  hold(message: Outgoing, maxPayload: number): void {
    const { subject, bytes, headers } = message;
    const held = this.#held!;
    // The next connection must take all that is held: hence its limit too, and the same count as in its publish().
    const size = countedBytes(bytes, headers, Math.min(maxPayload, this.#next.maxPayload));
    checkSubject(subject);
    if (held.size > MAX_UNCONFIRMED_BYTES)
      throw new BusOverloaded(`${MAX_UNCONFIRMED_BYTES} bytes wait for another NATS server to take over`);
    held.messages.push(message);
    held.size += size;
  }

  /** Receives on the next connection beside the old one, then only there. False if one of them was lost too early. */
  async receive(): Promise<boolean> {
    const [old, next] = [this.#old, this.#next];
    const overlap = new Overlap(next);
    this.#overlap = overlap;
    for (const subscription of this.#subscriptions) subscription.prepare(next);
    const subscribed = new Promise<void>((resolve) => next.whenSubscribed(resolve));
    await Promise.race([subscribed, old.lost, next.lost]);
    if (old.alive && next.alive) {
      await Promise.race([pause(systemClock, OVERLAP_MS, this.#signal), overlap.full, old.lost, next.lost]);
      for (const subscription of this.#subscriptions) subscription.choose(next.alive);
      if (next.alive) {
        this.#chosen = true;
        // Once the old server answers, all its messages for us have arrived.
        await Promise.race([new Promise<void>((resolve) => old.whenSubscribed(resolve)), old.lost]);
        overlap.release();
        this.#overlap = undefined;
        // The old connection has no subscriptions any more. Without its end nobody would learn of the gap.
        if (!next.alive) old.end('the connection that took over was lost');
        return next.alive;
      }
    }
    this.#overlap = undefined;
    for (const subscription of this.#subscriptions) subscription.choose(false);
    return false;
  }

  /**
   * Publishes on the next connection from now on, after all that the old one has sent.
   * @param onSwitch the next connection is the present one from here
   */
  async publish(onSwitch: () => void): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const held: HeldPublishes = { messages: [], size: 0, over: promise };
    this.#held = held;
    if (this.#old.alive) {
      await this.#old.receipts.confirmed().catch(() => {});
      await pause(systemClock, PUBLISH_PAUSE_MS, this.#signal);
    }
    onSwitch();
    this.#held = undefined;
    for (const { subject, bytes, headers, reply } of held.messages)
      if (this.#next.alive) this.#next.publish(subject, bytes, headers, reply);
    resolve();
    this.#old.end('another server has taken over');
  }
}
