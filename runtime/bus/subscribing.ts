/** What the server made of a subscription. */
export type Outcome = 'in force' | 'refused';

/** A subscription as it is asked of a connection. */
export type Asked = {
  /** Sends it. */
  send(): void;
  outcome(outcome: Outcome): void;
  /** The server has named it in a refusal. */
  refused: boolean;
};

export type SubscribingEffects = {
  /** Calls `run` in a moment: what is asked until then goes together. */
  soon(run: () => void): void;
  /** Calls back when the server has answered all that was sent before, or never where the connection is lost. */
  whenAnswered(callback: () => void): void;
};

/**
 * Subscriptions of one connection, in groups: one group is on its way at a time, and what ends subscriptions goes
 * between two. For of one beyond its limit a server says only that there was one: it is known by the order. Once a
 * group has met the limit, all that follows in it has, since nothing in it makes room.
 */
export class Subscribing {
  readonly #effects: SubscribingEffects;
  #group: Asked[] = [];
  #next: Asked[] = [];
  #afterGroup: (() => void)[] = [];
  #afterNext: (() => void)[] = [];
  #ends: (() => void)[] = [];
  #underWay = false;
  #scheduled = false;
  #beyondLimit = 0;

  constructor(effects: SubscribingEffects) {
    this.#effects = effects;
  }

  ask(asked: Asked): void {
    this.#next.push(asked);
    this.#schedule();
  }

  /** Calls back when all that was asked before has its outcome, or never where the connection is lost. */
  whenKnown(callback: () => void): void {
    this.#afterNext.push(callback);
    this.#schedule();
  }

  /** Takes `asked` back, which was sent or not; `end` ends it at the server. */
  end(asked: Asked, end: () => void): void {
    const waiting = this.#next.indexOf(asked);
    if (waiting >= 0) this.#next.splice(waiting, 1);
    else this.#ends.push(end);
    this.#schedule();
  }

  /** The server has refused one, since there are as many as it takes. */
  limitMet(): void {
    this.#beyondLimit++;
  }

  #schedule() {
    if (this.#underWay || this.#scheduled) return;
    this.#scheduled = true;
    this.#effects.soon(() => {
      this.#scheduled = false;
      this.#go();
    });
  }

  #go() {
    if (this.#underWay) return;
    for (const end of this.#ends.splice(0)) end();
    if (this.#next.length === 0 && this.#afterNext.length === 0) return;
    this.#group = this.#next;
    this.#next = [];
    this.#afterGroup = this.#afterNext;
    this.#afterNext = [];
    this.#underWay = true;
    this.#beyondLimit = 0;
    for (const asked of this.#group) asked.send();
    this.#effects.whenAnswered(() => this.#answered());
  }

  #answered() {
    const group = this.#group;
    const after = this.#afterGroup;
    this.#group = [];
    this.#underWay = false;
    const counted = group.filter(({ refused }) => !refused);
    for (const asked of counted.slice(Math.max(0, counted.length - this.#beyondLimit))) asked.refused = true;
    this.#go();
    for (const asked of group) asked.outcome(asked.refused ? 'refused' : 'in force');
    for (const callback of after) callback();
  }
}
