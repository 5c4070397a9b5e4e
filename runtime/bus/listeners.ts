import type { Handler } from './bus.ts';

/** Where errors of handlers and listeners go: a pino Logger, or the console. */
export type Complain = { error(details: object, message: string): void };

/** Those who listen to one kind of event. One that throws is logged; the others still hear. */
export class Listeners<Event> {
  readonly #log: Complain;
  readonly #all = new Set<{ listener: (event: Event) => void }>();

  constructor(log: Complain) {
    this.#log = log;
  }

  /** Listens until the returned function is called. */
  add(listener: (event: Event) => void): () => void {
    const entry = { listener };
    this.#all.add(entry);
    return () => {
      this.#all.delete(entry);
    };
  }

  emit(event: Event): void {
    for (const { listener } of [...this.#all]) {
      try {
        listener(event);
      } catch (error) {
        this.#log.error({ err: error, event }, 'a listener of the bus threw');
      }
    }
  }
}

/** A handler that never throws: its errors are logged, and the messages after it still come. */
export function guarded(handler: Handler, log: Complain): Handler {
  return (bytes, subject) => {
    try {
      handler(bytes, subject);
    } catch (error) {
      log.error({ err: error, subject }, 'a handler of bus messages threw');
    }
  };
}
