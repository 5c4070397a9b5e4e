import type { Handler } from './bus.ts';

/** Where errors of handlers and listeners are logged: a pino Logger, or the console. */
export type ErrorLog = { error(details: object, message: string): void };

/** Listeners to one kind of event. The error of one is logged and keeps the event from no other. */
export class EventListeners<Event> {
  readonly #log: ErrorLog;
  readonly #all = new Set<{ listener: (event: Event) => void }>();

  constructor(log: ErrorLog) {
    this.#log = log;
  }

  /** Adds a listener. The returned function removes it. */
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

/** `handler`, except that it never throws: its errors are logged, and later messages are still delivered. */
export function guarded(handler: Handler, log: ErrorLog): Handler {
  return (bytes, subject, message) => {
    try {
      handler(bytes, subject, message);
    } catch (error) {
      handlerFailed(error, subject, log);
    }
  };
}

export function handlerFailed(error: unknown, subject: string, log: ErrorLog): void {
  log.error({ err: error, subject }, 'a handler of bus messages threw');
}
