import { proportionalShares } from './proportionalShares.ts';

/** How many connections a shard may hold. An allowance with a higher `turn` replaces those before it. */
export type Allowance = { connections: number; turn: number };

type ShardState = {
  listening: boolean;
  /** Connections, as the shard reported last. */
  held: number;
  /** The largest of the allowances that the shard may still go by. */
  ceiling: number;
  /** The last allowance sent, and its turn. */
  granted: number;
  turn: number;
};

/**
 * Shares `connections.max` among the shards, in proportion to nothing but need: each gets what it holds and an equal part of
 * what is free. Invariant: the sum of all ceilings is at most `max`, so all shards together never hold more. A report is out
 * of date when it arrives, and an allowance is not in force before the shard reports its turn. Until then the shard may go by
 * the former one, which is why a ceiling is the largest of both. Example with max 10 and two shards: shard 0 holds 4 and has
 * an allowance of 7, shard 1 holds 0 and has 3. To raise shard 1 to 6, shard 0 is lowered to 4 first. Only when shard 0
 * reports that turn are 3 more free.
 */
export class ConnectionAllowances {
  readonly #shards: ShardState[];

  constructor(shards: number) {
    this.#shards = Array.from({ length: shards }, () => ({
      listening: false,
      held: 0,
      ceiling: 0,
      granted: 0,
      turn: 0,
    }));
  }

  /** A new process of the shard listens: it holds no connection, and may hold none yet. */
  started(shard: number): void {
    const turn = this.#shards[shard]?.turn ?? 0;
    this.#shards[shard] = { listening: true, held: 0, ceiling: 0, granted: 0, turn };
  }

  /** The shard's process is gone with all its connections. */
  died(shard: number): void {
    const state = this.#shards[shard];
    if (state) Object.assign(state, { listening: false, held: 0, ceiling: 0, granted: 0 });
  }

  /** A shard reports how many connections it holds, and the turn of the allowance that it goes by. */
  reported(shard: number, held: number, turn: number): void {
    const state = this.#shards[shard];
    if (!state) return;
    state.held = held;
    if (turn === state.turn) state.ceiling = Math.max(held, state.granted);
  }

  /** New allowances to send, by shard; undefined if a shard's stays as it is. @param max Infinity: no limit */
  share(max: number): (Allowance | undefined)[] {
    if (max === Number.POSITIVE_INFINITY)
      return this.#shards.map((state) => (state.listening ? this.#grant(state, Number.MAX_SAFE_INTEGER) : undefined));
    const sum = (of: (state: ShardState) => number) => this.#shards.reduce((total, state) => total + of(state), 0);
    const free = Math.max(0, max - sum(({ held }) => held));
    const parts = proportionalShares(
      free,
      this.#shards.map(({ listening }) => (listening ? 1 : 0)),
    );
    let unused = Math.max(0, max - sum(({ ceiling }) => ceiling));
    return this.#shards.map((state, i) => {
      if (!state.listening) return undefined;
      const wanted = state.held + (parts[i] ?? 0);
      const more = Math.min(unused, Math.max(0, wanted - state.ceiling));
      unused -= more;
      return this.#grant(state, Math.min(wanted, state.ceiling + more));
    });
  }

  #grant(state: ShardState, connections: number): Allowance | undefined {
    if (connections === state.granted) return undefined;
    state.granted = connections;
    state.ceiling = Math.max(state.ceiling, connections);
    return { connections, turn: ++state.turn };
  }
}
