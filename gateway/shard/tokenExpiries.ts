import type { Connection } from './connection.ts';

/** Connections by the second (since the epoch) at which their token expires. */
export class TokenExpiries {
  readonly #bySecond = new Map<number, Set<Connection>>();

  add(second: number, connection: Connection): void {
    const there = this.#bySecond.get(second);
    if (there) there.add(connection);
    else this.#bySecond.set(second, new Set([connection]));
  }

  delete(second: number, connection: Connection): void {
    const there = this.#bySecond.get(second);
    if (!there?.delete(connection)) return;
    if (there.size === 0) this.#bySecond.delete(second);
  }

  /** Takes out the connections that expire at `second` or before. */
  due(second: number): Connection[] {
    const due: Connection[] = [];
    for (const [at, connections] of this.#bySecond) {
      if (at > second) continue;
      for (const connection of connections) due.push(connection);
      this.#bySecond.delete(at);
    }
    return due;
  }
}
