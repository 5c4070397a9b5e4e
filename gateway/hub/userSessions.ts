import { HeldSessions, SessionOpened } from '@pushcluster/protocol/control.ts';
import { parseJson } from '@pushcluster/protocol/parseJson.ts';
import type { Clock } from '@pushcluster/runtime/clock.ts';
import type { ShardHandle } from './shardHandle.ts';

/** Users in one message of those that are published again once the bus is back, at most. */
const HELD_AT_ONCE = 200;
/**
 * Bytes of users in one such message, about: half of the least max_payload that is set in practice. A name may take
 * 770 bytes as JSON.
 */
const HELD_BYTES = 32_768;
/** Milliseconds between two such messages. */
const HELD_EVERY_MS = 100;

export type UserSessionsOptions = {
  gateway: string;
  /** Its `now` is the machine's monotonic clock, which the shards go by too. */
  clock: Clock;
  shards: () => readonly ShardHandle[];
  /** Publishes to the other gateways; false if the bus is unavailable. */
  publish: (message: SessionOpened | HeldSessions) => boolean;
};

type Held = { order: number; shard: ShardHandle; at: number };

/**
 * One session per user over all gateways. Sessions have an order: each is newer than all that its gateway had received
 * when it opened (a Lamport clock). Of two gateways that knew nothing of each other's session, every gateway takes the
 * same one for newer, so exactly one of them survives. Messages that were lost while the bus was unavailable are made up
 * for: gateways publish the sessions that they hold once more.
 *
 * Example: the highest order that gateways `a` and `b` know is 7. A user opens a session on `a`, and one on `b` before
 * the message of `a` arrives there. Both get order 8. Of equal orders the gateway with the greater name has the newer
 * session. So `a` closes its session when it receives the message of `b`, and `b` keeps its own when it receives that of
 * `a`.
 */
export class UserSessions {
  readonly #options: UserSessionsOptions;
  /** The session that each user has here: its order, and where and when it was opened. */
  readonly #held = new Map<string, Held>();
  /**
   * Number of each shard's last session that was received, by shard. What a shard opened since has no order yet, and
   * is newer.
   */
  readonly #received: number[] = [];
  /** When each shard's last process ended, by shard: the sessions of before are lost. */
  readonly #diedAt: number[] = [];
  /** The highest order that was given or received. */
  #last = 0;
  #cancelRepeat = () => {};

  constructor(options: UserSessionsOptions) {
    this.#options = options;
  }

  /**
   * A shard opened its session number `session`, `at` by the machine's monotonic clock. Messages of two shards may be
   * received in another order than that in which they opened. False if the other gateways can't be notified now.
   */
  opened(shard: ShardHandle, { user, session, at }: { user: string; session: number; at: number }): boolean {
    const { gateway, clock, publish } = this.#options;
    this.#received[shard.index] = session;
    const held = this.#heldBy(user);
    if (held && held.shard !== shard && held.at > at) {
      shard.send({ type: 'replaced', user, upTo: session });
      return true;
    }
    // The wall clock only gives a gateway that has just started, and has received no session yet, a first order.
    const order = Math.max(this.#last + 1, Math.floor(clock.wall() - Math.max(0, clock.now() - at)));
    this.#last = order;
    this.#held.set(user, { order, shard, at });
    this.#replace(user, shard);
    return publish({ gateway, user, at: clock.wall(), order });
  }

  /**
   * A message on the subject of sessions, of another gateway or of this one. What this version can't read is ignored.
   */
  receive(bytes: Uint8Array): void {
    const message = parseJson(bytes, SessionOpened) ?? parseJson(bytes, HeldSessions);
    if (!message || message.gateway === this.#options.gateway) return;
    if ('user' in message) this.#heldElsewhere(message.gateway, message.user, message.order);
    else for (const [user, order] of message.held) this.#heldElsewhere(message.gateway, user, order);
  }

  /**
   * Another gateway holds a session of the user.
   * @param order absent from older versions: newer than all that are here
   */
  #heldElsewhere(gateway: string, user: string, order = this.#last + 1) {
    const { gateway: own, clock, publish } = this.#options;
    this.#last = Math.max(this.#last, order);
    const held = this.#heldBy(user)?.order;
    if (held !== undefined && (held > order || (held === order && own > gateway))) {
      // The other gateway would have closed its session if it had received ours.
      publish({ gateway: own, user, at: clock.wall(), order: held });
      return;
    }
    this.#held.delete(user);
    this.#replace(user);
  }

  /** The user has no session here any more. */
  ended(user: string): void {
    this.#held.delete(user);
  }

  /** A shard's process has ended, and its sessions with it. The one that replaces it counts its own from the beginning. */
  shardDied(shard: ShardHandle): void {
    this.#received[shard.index] = 0;
    this.#diedAt[shard.index] = this.#options.clock.now();
  }

  /** Frees the memory of the user's session if it ended with its shard's process. */
  forgetIfLost(user: string): void {
    if (!this.#heldBy(user)) this.#held.delete(user);
  }

  #heldBy(user: string): Held | undefined {
    const held = this.#held.get(user);
    return held && held.at > (this.#diedAt[held.shard.index] ?? Number.NEGATIVE_INFINITY) ? held : undefined;
  }

  /**
   * The bus is back. Sessions that were opened meanwhile, here or elsewhere, were not received: publishes those here
   * again.
   */
  repeat(): void {
    this.#cancelRepeat();
    const users = this.#held.keys();
    const step = () => {
      const held: [string, number][] = [];
      let bytes = 0;
      for (const user of users) {
        const order = this.#heldBy(user)?.order;
        if (order === undefined) continue;
        held.push([user, order]);
        bytes += Buffer.byteLength(JSON.stringify([user, order])) + 1;
        if (held.length === HELD_AT_ONCE || bytes >= HELD_BYTES) break;
      }
      if (held.length === 0 || !this.#options.publish({ gateway: this.#options.gateway, held })) return;
      this.#cancelRepeat = this.#options.clock.after(HELD_EVERY_MS, step);
    };
    step();
  }

  /** Closes the user's sessions on all shards but `by`, up to the last one that was received. */
  #replace(user: string, by?: ShardHandle) {
    for (const shard of this.#options.shards())
      if (shard !== by) shard.send({ type: 'replaced', user, upTo: this.#received[shard.index] ?? 0 });
  }
}
