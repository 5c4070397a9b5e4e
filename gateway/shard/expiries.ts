import type { Session } from './session.ts';

/** Sessions by the second at which their token expires. */
export class Expiries {
  readonly #bySecond = new Map<number, Set<Session>>();

  add(second: number, session: Session): void {
    const there = this.#bySecond.get(second);
    if (there) there.add(session);
    else this.#bySecond.set(second, new Set([session]));
  }

  delete(second: number, session: Session): void {
    const there = this.#bySecond.get(second);
    if (!there?.delete(session)) return;
    if (there.size === 0) this.#bySecond.delete(second);
  }

  /** Takes out the sessions that expire at `second` or before. */
  due(second: number): Session[] {
    const due: Session[] = [];
    for (const [at, sessions] of this.#bySecond) {
      if (at > second) continue;
      for (const session of sessions) due.push(session);
      this.#bySecond.delete(at);
    }
    return due;
  }
}
