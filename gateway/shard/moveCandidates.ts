import type { Connection } from './connection.ts';

/**
 * Connections of a shard by age, as those that may be moved to even out the load. With a mark only those from before it are
 * given out, each once, so that nobody who was just moved here is moved on.
 */
export class MoveCandidates {
  readonly #all: () => readonly Connection[];
  /** The last connection before the mark. */
  #upTo: number | undefined;
  /** From the youngest to the oldest; undefined until they are asked for. */
  #waiting: Connection[] | undefined;

  constructor(all: () => readonly Connection[]) {
    this.#all = all;
  }

  /** How many may still be given out, at most. @param unasked of all sessions, how many were not asked to move */
  left(unasked: number): number {
    return Math.min(unasked, this.#waiting?.length ?? unasked);
  }

  mark(lastId: number | undefined): void {
    this.#upTo = lastId;
    this.#waiting = undefined;
  }

  /** The oldest that is still there and was not asked to move; undefined where there is none. */
  next(others: boolean): Connection | undefined {
    this.#waiting ??= this.#all()
      .filter(({ id, v1 }) => (others || v1) && id <= (this.#upTo ?? Number.POSITIVE_INFINITY))
      .sort((a, b) => b.id - a.id);
    for (;;) {
      const connection = this.#waiting.pop();
      if (!connection || (!connection.gone && !connection.moving)) return connection;
    }
  }
}
