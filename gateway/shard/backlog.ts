import type { Socket } from './engine.ts';
import type { Loop } from './loop.ts';

/**
 * Part of the memory limit for what waits for all slow readers of all shards. An eighth, since the engine's buffers may
 * be twice as large as what waits in them.
 */
const SHARE = 1 / 8;
/** So far below the budget it is made room for, when it is over: not for each byte anew. */
const ROOM_MADE = 0.9;

/** Bytes that may wait on one shard. @param memory limit, bytes @param least what one connection may have */
export function backlogBudget(memory: number, shards: number, least: number): number {
  return Math.max(least, Math.floor((memory * SHARE) / shards));
}

/** Someone for whom bytes may wait in this process. The two numbers are the backlog's own. */
export type Waiter = {
  readonly ws: Pick<Socket, 'getBufferedAmount'> | undefined;
  /** Bytes that wait for it. */
  waiting: number;
  /** Since when there are any, milliseconds of the loop's clock. */
  waitingSince: number;
};

export type BacklogOptions<W extends Waiter> = {
  loop: Loop;
  /** Bytes that may wait for all of them together. */
  budget: () => number;
  /** Closes one and lets go of its bytes at once. Must call `forget`, at once too. */
  cut: (waiter: W) => void;
};

/**
 * The bytes that wait for all sockets of a shard, beyond the kernel's buffers. Each socket has a limit of its own, and
 * nothing but this one limits the sum. Over the budget those are cut first who hold the most bytes for the longest time:
 * who reads, if slowly at times, holds them for moments. It is told only where a send was not sent at once, where a
 * buffer went down and where a client speaks, so that those who keep up cost nothing.
 */
export class Backlog<W extends Waiter> {
  readonly #options: BacklogOptions<W>;
  readonly #waiters = new Set<W>();
  #bytes = 0;
  #scheduled = false;

  constructor(options: BacklogOptions<W>) {
    this.#options = options;
  }

  /** Bytes that wait for all, as of the last word on each. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Looks at what waits for `waiter` now. */
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

  /** It is gone, and its bytes with it. */
  forget(waiter: W): void {
    this.#bytes -= waiter.waiting;
    waiter.waiting = 0;
    this.#waiters.delete(waiter);
  }

  /** Makes room in the loop's next turn where it is over the budget: here a group may be being walked. */
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
    // Some may have been read meanwhile.
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
