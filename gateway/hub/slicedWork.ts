import type { Clock } from '@pushcluster/runtime/clock.ts';

/** Such work in one turn of the event loop, milliseconds. Between two turns the hub serves the bus, shards and timers. */
const SLICE_MS = 8;

/** Does what is to be done with the next item; false if there is none. */
type Task = () => boolean;

export type SlicedWorkOptions = {
  clock: Pick<Clock, 'now' | 'soon'>;
  /** An item threw an error: those after it still have their turn. */
  failed: (error: unknown) => void;
};

/** Work of the hub that takes long because it is about many channels. It is done in slices, which tasks take in turn. */
export class SlicedWork {
  readonly #options: SlicedWorkOptions;
  #tasks: Task[] = [];
  /** When the work of this turn began; undefined before it. */
  #begun: number | undefined;

  constructor(options: SlicedWorkOptions) {
    this.#options = options;
  }

  /** Calls `visit` for each item: in this turn of the loop as long as its slice lasts, and for the others in the next. */
  start<T>(items: Iterable<T>, visit: (item: T) => void): void {
    const iterator = items[Symbol.iterator]();
    this.#tasks.push(() => {
      const { done, value } = iterator.next();
      if (!done) visit(value);
      return done !== true;
    });
    if (this.#tasks.length === 1) this.#run();
  }

  #run() {
    while (!this.#late()) {
      const [task] = this.#tasks;
      if (!task) return;
      if (this.#advance(task)) this.#tasks.push(task);
      this.#tasks.shift();
    }
  }

  /** True if the slice is over before the task is. */
  #advance(task: Task): boolean {
    do {
      try {
        if (!task()) return false;
      } catch (error) {
        this.#options.failed(error);
      }
    } while (!this.#late());
    return true;
  }

  /** Whether the slice of this turn is over. */
  #late(): boolean {
    const { clock } = this.#options;
    if (this.#begun !== undefined) return clock.now() - this.#begun >= SLICE_MS;
    this.#begun = clock.now();
    clock.soon(() => {
      this.#begun = undefined;
      if (this.#tasks.length > 0) this.#run();
    });
    return false;
  }
}
