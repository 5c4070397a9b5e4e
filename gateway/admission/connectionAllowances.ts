import { proportionalShares } from './proportionalShares.ts';

/** How many connections a shard may hold. An allowance with a higher `generation` replaces those before it. */
export type Allowance = { connections: number; generation: number };

type ShardState = {
  listening: boolean;
  /** Connections, as the shard reported last. */
  held: number;
  /** The largest of the allowances that the shard may still go by. */
  ceiling: number;
  /** The last allowance sent, and its generation. */
  granted: number;
  generation: number;
};

/**
 * Shares `connections.max` among the shards: each may hold what it holds, and an equal part of what is free. Invariant: the
 * sum of all ceilings is at most `max`, so all shards together never hold more. A report is out of date when it arrives, and
 * a shard may go by its former allowance until it has reported the generation of the new one. Therefore a ceiling is the
 * larger of both. Example with a `max` of 10 and an allowance of 5 each: shard 0 holds nothing and shard 1 holds 4, so 6 are
 * free, and the shards should have 3 and 7. Shard 0 is lowered to 3 at once. Shard 1 is raised to 7 only after shard 0 has
 * reported that generation, since until then shard 0 may still open its fourth and fifth connection.
 */
export class ConnectionAllowances {
  readonly #shards: ShardState[];

  constructor(shards: number) {
    this.#shards = Array.from({ length: shards }, () => ({
      listening: false,
      held: 0,
      ceiling: 0,
      granted: 0,
      generation: 0,
    }));
  }

  /** A new process of the shard listens: it holds no connection, and may hold none yet. */
  started(shard: number): void {
    const generation = this.#shards[shard]?.generation ?? 0;
    this.#shards[shard] = { listening: true, held: 0, ceiling: 0, granted: 0, generation };
  }

  /** The shard's process is gone with all its connections. */
  died(shard: number): void {
    const state = this.#shards[shard];
    if (state) Object.assign(state, { listening: false, held: 0, ceiling: 0, granted: 0 });
  }

  /** A shard reports how many connections it holds, and the generation of the allowance that it goes by. */
  reported(shard: number, held: number, generation: number): void {
    const state = this.#shards[shard];
    if (!state) return;
    state.held = held;
    if (generation === state.generation) state.ceiling = Math.max(held, state.granted);
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
    return { connections, generation: ++state.generation };
  }
}
