import type { Socket } from './engine.ts';
import type { Loop } from './loop.ts';

/**
 * Part of the memory limit for what waits for the slow readers of all shards. An eighth, since the engine's buffers may be
 * twice as large as what waits in them.
 */
const SHARE = 1 / 8;
/** Over the budget, connections are cut until this share of it is left, so that not each further byte cuts one. */
const ROOM_MADE = 0.9;

/** Bytes that may wait on one shard. @param memory limit, bytes @param least what may wait for one connection, bytes */
export function backlogBudget(memory: number, shards: number, least: number): number {
  return Math.max(least, Math.floor((memory * SHARE) / shards));
}

/** A peer for which bytes may wait in this process. The two numbers are the backlog's own. */
export type Waiter = {
  readonly ws: Pick<Socket, 'getBufferedAmount'> | undefined;
  /** Bytes that wait for it, as of the last `note`. */
  waiting: number;
  /** When they began to wait, milliseconds of the loop's clock. */
  waitingSince: number;
};

export type BacklogLimitOptions<W extends Waiter> = {
  loop: Loop;
  /** Bytes that may wait for all of them together. */
  budget: () => number;
  /** Closes a peer and frees its bytes at once. It must call `forget` within the call. */
  cut: (waiter: W) => void;
};

/**
 * The bytes that wait for all sockets of a shard, beyond the kernel's buffers. Each socket has a limit of its own; this is the
 * limit of the sum. Over the budget, peers are cut by bytes times time: a peer that reads, if slowly, holds bytes for moments
 * only. `note` is called when a send had to wait, when a buffer went down and when a client sends something, so that peers
 * that keep up cost nothing.
 */
export class BacklogLimit<W extends Waiter> {
  readonly #options: BacklogLimitOptions<W>;
  readonly #waiters = new Set<W>();
  #bytes = 0;
  #scheduled = false;

  constructor(options: BacklogLimitOptions<W>) {
    this.#options = options;
  }

  /** Bytes that wait for all, as of the last `note` of each. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Reads how much waits for `waiter` now. */
  note(waiter: W): void {
    const now = waiter.ws?.getBufferedAmount() ?? 0;
    if (now === waiter.waiting) return;
    if (waiter.waiting === 0) {
      waiter.waitingSince = Math.floor(this.#options.loop.now());
      this.#waiters.add(waiter);
    }
    this.#bytes += now - waiter.waiting;
    waiter.waiting = now;
    if (now === 0) this.#waiters.delete(waiter);
    else this.check();
  }

  /** The peer is gone, and its bytes with it. */
  forget(waiter: W): void {
    this.#bytes -= waiter.waiting;
    waiter.waiting = 0;
    this.#waiters.delete(waiter);
  }

  /** If it is over the budget, cuts peers in the loop's next turn: now a group may be being walked. */
  check(): void {
    const { loop, budget } = this.#options;
    if (this.#scheduled || this.#bytes <= budget()) return;
    this.#scheduled = true;
    loop.soon(() => {
      this.#scheduled = false;
      this.#makeRoom();
    });
  }

  #makeRoom() {
    const { loop, budget, cut } = this.#options;
    const most = budget();
    // Some bytes may have been read meanwhile.
    for (const waiter of this.#waiters) this.note(waiter);
    if (this.#bytes <= most) return;
    const now = loop.now();
    const cost = ({ waiting, waitingSince }: W) => waiting * (now - waitingSince + 1);
    for (const waiter of [...this.#waiters].sort((a, b) => cost(b) - cost(a))) {
      if (this.#bytes <= most * ROOM_MADE) return;
      cut(waiter);
    }
  }
}
