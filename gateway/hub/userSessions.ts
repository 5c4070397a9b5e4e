import type { HeldSessions, SessionWord } from '@pushcluster/protocol/control.ts';
import type { Clock } from './clock.ts';
import type { HubLink } from './hub.ts';

/** What is said anew after the bus was away: so many users in a message, or bytes of them, and a message so often. */
const HELD_AT_ONCE = 200;
/** Half of the least max_payload that is set in practice; a name may take 770 bytes as JSON. */
const HELD_BYTES = 32_768;
const HELD_EVERY_MS = 100;

export type UserSessionsOptions = {
  gateway: string;
  clock: Clock;
  /** Milliseconds since the epoch. */
  wall: () => number;
  /** Milliseconds of the machine's monotonic clock: the shards' too. */
  monotonic: () => number;
  links: () => readonly HubLink[];
  /** Tells the other gateways; false where the bus is away. */
  announce: (word: SessionWord | HeldSessions) => boolean;
};

type Held = { order: number; link: HubLink; at: number };

/**
 * One session per user over all gateways. Sessions have an order: each is newer than all that its gateway had heard of
 * when it opened (a Lamport clock), and of two that knew nothing of each other the same one counts as newer everywhere.
 * So one survives, never both and never none. Where words were missed, those who hold a session say so again.
 */
export class UserSessions {
  readonly #options: UserSessionsOptions;
  /** The session that each user has here: its order, and where and when it was opened. */
  readonly #held = new Map<string, Held>();
  /** The last session that each shard told of: what it opened since is still to be ordered, and newer. */
  readonly #heard: number[] = [];
  #last = 0;
  #cancelRepeat = () => {};

  constructor(options: UserSessionsOptions) {
    this.#options = options;
  }

  /**
   * A shard opened its session number `session`, `at` by the machine's monotonic clock: shards may be heard in another
   * order than they opened. False where the other gateways can't be told now.
   */
  opened(link: HubLink, { user, session, at }: { user: string; session: number; at: number }): boolean {
    const { gateway, wall, monotonic, announce } = this.#options;
    this.#heard[link.index] = session;
    const held = this.#held.get(user);
    if (held && held.link !== link && held.at > at) {
      link.send({ type: 'replaced', user, upTo: session });
      return true;
    }
    // The clock is only where a gateway begins that has heard of nobody yet.
    const order = Math.max(this.#last + 1, Math.floor(wall() - Math.max(0, monotonic() - at)));
    this.#last = order;
    this.#held.set(user, { order, link, at });
    this.#replace(user, link);
    return announce({ gateway, user, at: wall(), order });
  }

  /** Another gateway holds a session of the user. @param order absent from older versions: newer than all that are here */
  heard(gateway: string, user: string, order = this.#last + 1): void {
    const own = this.#options.gateway;
    this.#last = Math.max(this.#last, order);
    const held = this.#held.get(user)?.order;
    if (held !== undefined && (held > order || (held === order && own > gateway))) {
      // It would have been replaced, had it heard of ours.
      this.#options.announce({ gateway: own, user, at: this.#options.wall(), order: held });
      return;
    }
    this.#held.delete(user);
    this.#replace(user);
  }

  /** The user has no session here any more. */
  gone(user: string): void {
    this.#held.delete(user);
  }

  /** A shard is gone, with its sessions: the next one counts anew. */
  lost(link: HubLink): void {
    this.#heard[link.index] = 0;
  }

  /** The bus is back: who opened a session meanwhile, here or elsewhere, was not heard. */
  repeat(): void {
    this.#cancelRepeat();
    const users = this.#held.keys();
    const step = () => {
      const held: [string, number][] = [];
      let bytes = 0;
      for (const user of users) {
        const order = this.#held.get(user)?.order;
        if (order === undefined) continue;
        held.push([user, order]);
        bytes += Buffer.byteLength(JSON.stringify([user, order])) + 1;
        if (held.length === HELD_AT_ONCE || bytes >= HELD_BYTES) break;
      }
      if (held.length === 0 || !this.#options.announce({ gateway: this.#options.gateway, held })) return;
      this.#cancelRepeat = this.#options.clock.after(HELD_EVERY_MS, step);
    };
    step();
  }

  #replace(user: string, by?: HubLink) {
    for (const link of this.#options.links())
      if (link !== by) link.send({ type: 'replaced', user, upTo: this.#heard[link.index] ?? 0 });
  }
}
