import { proportionalShares } from '../admission/proportionalShares.ts';
import type { ShardProcess } from '../hub/shardProcess.ts';
import type { MoveReason, MoveTime } from '../ipc/move.ts';

/** How long shards may take to say how many connections they hold, milliseconds. */
const FRESH_WITHIN = 2_000;

/** What the moves need of a shard's link. */
export type MoveLink = Pick<ShardProcess, 'counts' | 'listening' | 'send'>;

/** The connections of all shards as those to be moved: how many there are, and asking some of them to go. */
export class Moves {
  readonly #links: () => readonly MoveLink[];
  #followers = 0;
  #marked = false;

  constructor(links: () => readonly MoveLink[]) {
    this.#links = links;
  }

  get connections(): number {
    return this.#sum((link) => link.counts?.connections ?? 0);
  }

  /** Connections that were not asked to move: by what each shard says, since some of those asked leave by themselves. */
  get unasked(): number {
    return this.#sum((link) => link.counts?.unasked ?? 0);
  }

  /** Connections that may be moved to even out the load: at most those from before the mark. */
  get movable(): number {
    return this.#sum((link) => link.counts?.movable ?? 0);
  }

  /** Asks `count` connections to move, of each shard in proportion. */
  ask(count: number, time: MoveTime, reason: Exclude<MoveReason, 'rebalance'>): void {
    this.#ask(count, 'unasked', (part) => ({ type: 'move', count: part, time, reason }));
  }

  /** Asks those of `count` that connected first, and before the mark. @param others also by close code */
  askOldest(count: number, time: MoveTime, others: boolean): void {
    this.#ask(count, 'movable', (part) => ({ type: 'moveOldest', count: part, time, others }));
  }

  /** From now on only those are movable who are here now; without a mark everyone is. */
  mark(on: boolean): void {
    this.#marked = on;
    for (const link of this.#links()) link.send({ type: 'mark', on });
  }

  stopListening(): void {
    for (const link of this.#links()) link.send({ type: 'stopListening' });
  }

  /** Has the shards report often, from now until the returned function is called: a pace goes by their counts. */
  follow(): () => void {
    if (++this.#followers === 1) this.#reportOften(true);
    let following = true;
    return () => {
      if (!following) return;
      following = false;
      if (--this.#followers === 0) this.#reportOften(false);
    };
  }

  /** A shard began: what it has to know. */
  started(link: MoveLink): void {
    if (this.#followers > 0) link.send({ type: 'reportOften', on: true });
    if (this.#marked) link.send({ type: 'mark', on: true });
  }

  /** Resolves once each shard has reported anew, or after 2 s. */
  async fresh(): Promise<void> {
    const before = new Map(this.#links().map((link) => [link, link.counts]));
    const until = performance.now() + FRESH_WITHIN;
    while (performance.now() < until) {
      if (this.#links().every((link) => !link.listening || link.counts !== before.get(link))) return;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  #ask(count: number, of: 'unasked' | 'movable', message: (part: number) => Parameters<MoveLink['send']>[0]) {
    const links = this.#links();
    const sizes = links.map((link) => link.counts?.[of] ?? 0);
    for (const [i, part] of proportionalShares(count, sizes).entries()) if (part > 0) links[i]?.send(message(part));
  }

  #reportOften(on: boolean) {
    for (const link of this.#links()) link.send({ type: 'reportOften', on });
  }

  #sum(of: (link: MoveLink) => number): number {
    return this.#links().reduce((sum, link) => sum + of(link), 0);
  }
}
