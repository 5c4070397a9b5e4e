import { type Clock, systemClock } from '@pushcluster/runtime/clock.ts';
import { NotLeading } from './elector.ts';
import { isKubeError } from './errors.ts';
import type { Outcome } from './metrics.ts';
import type { Change } from './reflector.ts';
import { WorkQueue } from './workQueue.ts';

/** The result of a reconcile. `againIn`: milliseconds after which the key is reconciled again even without a change. */
export type Result = { againIn?: number };

export type ControllerOptions = {
  /** Reconciles one object, which may be deleted by now. If it rejects, the key is retried with a back-off. */
  reconcile: (key: string) => Promise<Result>;
  /** Whether everything is known that a key depends on. If not, it is dropped, and has to be added again later. */
  isKnown?: (key: string) => boolean;
  queue?: WorkQueue;
  /** Number of keys that are reconciled concurrently; default 4. */
  workers?: number;
  clock?: Clock;
  onReconciled?: (key: string, outcome: Outcome, seconds: number) => void;
  /** Called with the error of a reconcile, and the milliseconds until its retry. */
  onError?: (key: string, error: unknown, wait: number) => void;
};

/** Reconciles keys from a work queue, with retries. */
export class Controller {
  readonly queue: WorkQueue;
  readonly #options: ControllerOptions;
  readonly #clock: Clock;
  #isEnding = false;
  #running: Promise<void> | undefined;

  constructor(options: ControllerOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.queue = options.queue ?? new WorkQueue(this.#clock);
  }

  /** Whether `stop` was called: no reconcile is started. */
  get isEnding(): boolean {
    return this.#isEnding;
  }

  /** Starts the workers. Call it once this process leads. */
  start(): void {
    this.#running ??= this.#run();
  }

  /** Resolves when the running reconciles have finished. */
  async stop(): Promise<void> {
    this.#isEnding = true;
    this.queue.close();
    await this.#running;
  }

  async #run(): Promise<void> {
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
    if (this.#options.isKnown?.(key) === false) return undefined;
    try {
      const { againIn } = await this.#options.reconcile(key);
      this.queue.forget(key);
      if (againIn === undefined) return 'done';
      this.queue.addAfter(key, againIn);
      return 'again';
    } catch (error) {
      // The process is about to exit.
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
