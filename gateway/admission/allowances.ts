import { share } from './share.ts';

/** The word to a shard: how many connections it may hold. A later turn replaces an earlier one. */
export type Allowance = { connections: number; turn: number };

type ShardState = {
  listening: boolean;
  /** Connections, as it last said. */
  held: number;
  /** The most that it may hold by any word that it may still go by. */
  ceiling: number;
  /** The last word, and its turn. */
  granted: number;
  turn: number;
};

/**
 * Shares `connections.max` among the shards. What a shard says is old news, and so is what it was told until it says
 * that it has read it: an allowance goes up only by what no other shard can still be using, so that all together never
 * hold more than `max`.
 */
export class Allowances {
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

  /** A new process of the shard listens: it holds nothing, and may hold nothing yet. */
  started(shard: number): void {
    const turn = this.#shards[shard]?.turn ?? 0;
    this.#shards[shard] = { listening: true, held: 0, ceiling: 0, granted: 0, turn };
  }

  /** The shard's process is gone with all its connections. */
  died(shard: number): void {
    const state = this.#shards[shard];
    if (state) Object.assign(state, { listening: false, held: 0, ceiling: 0, granted: 0 });
  }

  /** A shard says how many connections it holds, by the word of which turn. */
  reported(shard: number, held: number, turn: number): void {
    const state = this.#shards[shard];
    if (!state) return;
    state.held = held;
    if (turn === state.turn) state.ceiling = Math.max(held, state.granted);
  }

  /** New words, by shard; undefined for those whose word stays. @param max Infinity: no limit */
  share(max: number): (Allowance | undefined)[] {
    if (max === Number.POSITIVE_INFINITY)
      return this.#shards.map((state) => (state.listening ? this.#grant(state, Number.MAX_SAFE_INTEGER) : undefined));
    const sum = (of: (state: ShardState) => number) => this.#shards.reduce((total, state) => total + of(state), 0);
    const free = Math.max(0, max - sum(({ held }) => held));
    const parts = share(
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
