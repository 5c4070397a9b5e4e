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
 * rollout holds its slot until it is complete, or is given up.
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

  /**
   * Tells what became of a PushCluster after it was reconciled. A slot that becomes free, or that it does not take, wakes
   * those that have waited longest.
   */
  update(key: string, { isRollingOut, waits }: { isRollingOut: boolean; waits: boolean }): void {
    const holders = this.#known();
    // One that waits may be scaled meanwhile, which looks like a rollout until its Deployment was observed.
    if (waits) return;
    const left = this.#waiting.delete(key);
    if (isRollingOut) holders.add(key);
    else if (holders.delete(key) || left) this.#wake();
  }

  /** The PushCluster is deleted, or no longer managed. */
  forget(key: string): void {
    this.update(key, { isRollingOut: false, waits: false });
  }

  /** Why a PushCluster waits. It does not change while it waits: else the statuses of all that wait would. */
  get sentence(): string {
    const { limit } = this.#options;
    return `at most ${limit} ${limit === 1 ? 'PushCluster does' : 'PushClusters do'} so at a time`;
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
