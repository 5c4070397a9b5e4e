import type { Connection } from './connection.ts';

/**
 * The connections of a shard that may be moved for rebalancing, the oldest first. After a mark only those that were there
 * before it are candidates, each once, so that nobody who was just moved here is moved on.
 */
export class MoveCandidates {
  readonly #all: () => readonly Connection[];
  /** Id of the last connection before the mark. */
  #upTo: number | undefined;
  /** From the youngest to the oldest; undefined until the first is asked for. */
  #left: Connection[] | undefined;

  constructor(all: () => readonly Connection[]) {
    this.#all = all;
  }

  /** How many are left, at most. @param unasked connections of the shard that were not asked to move */
  left(unasked: number): number {
    return Math.min(unasked, this.#left?.length ?? unasked);
  }

  /** @param lastId of the connections that are candidates; undefined: all are */
  mark(lastId: number | undefined): void {
    this.#upTo = lastId;
    this.#left = undefined;
  }

  /** The oldest that is still there and was not asked to move; undefined if there is none. @param others also clients other than v1 */
  next(others: boolean): Connection | undefined {
    this.#left ??= this.#all()
      .filter(({ id, v1 }) => (others || v1) && id <= (this.#upTo ?? Number.POSITIVE_INFINITY))
      .sort((a, b) => b.id - a.id);
    for (;;) {
      const connection = this.#left.pop();
      if (!connection || (!connection.gone && !connection.moving)) return connection;
    }
  }
}
