import type { Session } from './session.ts';

/** Sessions by the second at which their token expires. */
export class Expiries {
  readonly #bySecond = new Map<number, Set<Session>>();
  #checked = 0;

  add(second: number, session: Session): void {
    const key = Math.max(second, this.#checked + 1);
    const there = this.#bySecond.get(key);
    if (there) there.add(session);
    else this.#bySecond.set(key, new Set([session]));
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
      due.push(...sessions);
      this.#bySecond.delete(at);
    }
    this.#checked = Math.max(this.#checked, second);
    return due;
  }
}
