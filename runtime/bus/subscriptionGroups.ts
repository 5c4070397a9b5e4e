/** How the server answered a subscription. */
export type Outcome = 'in force' | 'refused';

/** A subscription as it is requested on one connection. */
export type SubscriptionRequest = {
  /** Sends it. */
  send(): void;
  outcome(outcome: Outcome): void;
  /** The server has refused it by name. */
  refused: boolean;
};

export type SubscriptionGroupsEffects = {
  /** Calls `run` in a moment: requests until then form one group. */
  soon(run: () => void): void;
  /** Calls back when the server has answered all that was sent before, or never if the connection is lost. */
  whenAnswered(callback: () => void): void;
};

/**
 * The subscriptions of one connection, sent in groups. One group is pending at a time, and subscriptions are ended only
 * between two groups. Reason: for a subscription beyond its limit, a server says only that there was one, and not which.
 * The order tells. Nothing in a group makes room, so once one of its requests has reached the limit, all later ones have.
 */
export class SubscriptionGroups {
  readonly #effects: SubscriptionGroupsEffects;
  #group: SubscriptionRequest[] = [];
  #next: SubscriptionRequest[] = [];
  #afterGroup: (() => void)[] = [];
  #afterNext: (() => void)[] = [];
  #ends: (() => void)[] = [];
  #pending = false;
  #scheduled = false;
  #beyondLimit = 0;

  constructor(effects: SubscriptionGroupsEffects) {
    this.#effects = effects;
  }

  add(request: SubscriptionRequest): void {
    this.#next.push(request);
    this.#schedule();
  }

  /** Calls back when all earlier requests have their outcome, or never if the connection is lost. */
  whenKnown(callback: () => void): void {
    this.#afterNext.push(callback);
    this.#schedule();
  }

  /** Withdraws `request`, sent or not. `end` ends it at the server. */
  end(request: SubscriptionRequest, end: () => void): void {
    const waiting = this.#next.indexOf(request);
    if (waiting >= 0) this.#next.splice(waiting, 1);
    else this.#ends.push(end);
    this.#schedule();
  }

  /** The server has refused one subscription of the pending group, because its limit is reached. */
  limitReached(): void {
    this.#beyondLimit++;
  }

  #schedule() {
    if (this.#pending || this.#scheduled) return;
    this.#scheduled = true;
    this.#effects.soon(() => {
      this.#scheduled = false;
      this.#sendNext();
    });
  }

  #sendNext() {
    if (this.#pending) return;
    for (const end of this.#ends.splice(0)) end();
    if (this.#next.length === 0 && this.#afterNext.length === 0) return;
    this.#group = this.#next;
    this.#next = [];
    this.#afterGroup = this.#afterNext;
    this.#afterNext = [];
    this.#pending = true;
    this.#beyondLimit = 0;
    for (const request of this.#group) request.send();
    this.#effects.whenAnswered(() => this.#answered());
  }

  #answered() {
    const group = this.#group;
    const after = this.#afterGroup;
    this.#group = [];
    this.#pending = false;
    const counted = group.filter(({ refused }) => !refused);
    for (const request of counted.slice(Math.max(0, counted.length - this.#beyondLimit))) request.refused = true;
    this.#sendNext();
    for (const request of group) request.outcome(request.refused ? 'refused' : 'in force');
    for (const callback of after) callback();
  }
}
