/** Maximum number of names in `holders`. */
const NAMED = 3;

export type RolloutSlotsOptions = {
  /** Maximum number of PushClusters that roll out at a time; 0: no limit. */
  limit: number;
  /** Keys of the PushClusters that roll out now. Called once, before the first slot is given. */
  rollingOut: () => Iterable<string>;
  /** Called with a key that waited, when a slot has become free. */
  wake: (key: string) => void;
};

/**
 * Limits how many PushClusters roll out new pods at a time: an upgrade of the operator changes the pods of all of them. A
 * rollout holds its slot until it is complete, or until Kubernetes gives it up.
 */
export class RolloutSlots {
  readonly #options: RolloutSlotsOptions;
  readonly #waiting = new Set<string>();
  #holders: Set<string> | undefined;

  constructor(options: RolloutSlotsOptions) {
    this.#options = options;
  }

  /**
   * Whether a PushCluster may start a rollout, or continue it. If not, it waits: `wake` is called later.
   * @param isOwnChange its spec was changed: that does not wait, but takes a slot
   */
  take(key: string, isOwnChange: boolean): boolean {
    const holders = this.#known();
    const { limit } = this.#options;
    if (!holders.has(key) && !isOwnChange && limit > 0 && holders.size >= limit) {
      this.#waiting.add(key);
      return false;
    }
    this.#waiting.delete(key);
    holders.add(key);
    return true;
  }

  /** Tells whether a PushCluster rolls out. A slot that becomes free wakes the one that has waited longest. */
  update(key: string, isRollingOut: boolean): void {
    const holders = this.#known();
    if (isRollingOut) holders.add(key);
    else if (holders.delete(key)) this.#wake();
  }

  /** The PushCluster is deleted, or no longer managed. */
  forget(key: string): void {
    this.#waiting.delete(key);
    if (this.#holders?.delete(key)) this.#wake();
  }

  /** Why a PushCluster waits: `10 PushClusters roll out (shop/live, shop/test and 8 more), the maximum`. */
  get sentence(): string {
    const holders = [...this.#known()];
    const more = holders.length > NAMED ? ` and ${holders.length - NAMED} more` : '';
    const count = holders.length === 1 ? '1 PushCluster rolls out' : `${holders.length} PushClusters roll out`;
    return `${count} (${holders.slice(0, NAMED).join(', ')}${more}), at most ${this.#options.limit} may at a time`;
  }

  #known(): Set<string> {
    this.#holders ??= new Set(this.#options.rollingOut());
    return this.#holders;
  }

  #wake(): void {
    const { limit, wake } = this.#options;
    let free = limit - this.#known().size;
    for (const key of this.#waiting) {
      if (free-- <= 0) return;
      wake(key);
    }
  }
}
