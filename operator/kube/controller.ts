import { type Clock, systemClock } from '@pushcluster/runtime/clock.ts';
import { NotLeading } from './elector.ts';
import { isKubeError } from './errors.ts';
import type { Outcome } from './metrics.ts';
import type { Change, Reflector } from './reflector.ts';
import { WorkQueue } from './workQueue.ts';

/** Where something is under way: milliseconds after which it is to be looked at again, whatever happens. */
export type Result = { againIn?: number };

export type ControllerOptions = {
  /** Makes one object be as wanted, from what is observed now: it may be gone. Rejects to be tried again later. */
  reconcile: (key: string) => Promise<Result>;
  /** All must be synced before anything is reconciled. */
  reflectors: readonly Reflector[];
  queue?: WorkQueue;
  /** Keys that are worked on at the same time. */
  workers?: number;
  clock?: Clock;
  onReconciled?: (key: string, outcome: Outcome, seconds: number) => void;
  /** Called with what a reconcile rejected with, and the wait before the next try in milliseconds. */
  onError?: (key: string, error: unknown, wait: number) => void;
};

/** Reconciles keys as they are added, and those again that failed. */
export class Controller {
  readonly queue: WorkQueue;
  readonly #options: ControllerOptions;
  readonly #clock: Clock;
  readonly #ending = Promise.withResolvers<void>();
  #isEnding = false;
  #running: Promise<void> | undefined;

  constructor(options: ControllerOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.queue = options.queue ?? new WorkQueue(this.#clock);
  }

  /** Whether nothing new is to be begun. */
  get isEnding(): boolean {
    return this.#isEnding;
  }

  /** Works until `stop`: call it when this process leads. */
  start(): void {
    this.#running ??= this.#run();
  }

  /** Resolves when no reconcile is under way any more. */
  async stop(): Promise<void> {
    this.#isEnding = true;
    this.#ending.resolve();
    this.queue.close();
    await this.#running;
  }

  async #run(): Promise<void> {
    const synced = Promise.all(this.#options.reflectors.map((each) => each.whenSynced()));
    await Promise.race([synced, this.#ending.promise]);
    if (this.#isEnding) return;
    await Promise.all(Array.from({ length: this.#options.workers ?? 4 }, () => this.#work()));
  }

  async #work(): Promise<void> {
    for (let key = await this.queue.take(); key !== undefined; key = await this.queue.take()) {
      const began = this.#clock.now();
      const outcome = await this.#reconcile(key);
      this.queue.done(key);
      if (outcome) this.#options.onReconciled?.(key, outcome, (this.#clock.now() - began) / 1_000);
    }
  }

  async #reconcile(key: string): Promise<Outcome | undefined> {
    try {
      const { againIn } = await this.#options.reconcile(key);
      this.queue.forget(key);
      if (againIn === undefined) return 'done';
      this.queue.addAfter(key, againIn);
      return 'again';
    } catch (error) {
      // The process is about to end.
      if (error instanceof NotLeading) return undefined;
      const wait = this.queue.retry(key, isKubeError(error) ? error.retryAfter : 0);
      this.#options.onError?.(key, error, wait);
      return isKubeError(error, 'conflict') ? 'conflict' : 'error';
    }
  }
}

/** The key of a changed object itself. */
export function itself({ object }: Change): string[] {
  const { namespace, name } = object.metadata;
  return [namespace === undefined ? name : `${namespace}/${name}`];
}

/** The keys of a changed object's owners of a kind, before and after the change. */
export function ownersOfKind(kind: string): (change: Change) => string[] {
  return ({ object, before }) => {
    const owners = [...(object.metadata.ownerReferences ?? []), ...(before?.metadata.ownerReferences ?? [])];
    const names = owners.filter((owner) => owner.kind === kind).map(({ name }) => name);
    return [...new Set(names)].map((name) => `${object.metadata.namespace}/${name}`);
  };
}
