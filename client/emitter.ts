import { needed } from './argument.ts';

/**
 * Typed events. A listener that throws does not stop the others: its error is reported as uncaught.
 *
 * A listener that is registered while an event is delivered gets the next event. A listener that is stopped meanwhile gets
 * nothing more.
 */
export class Emitter<Events extends object> {
  readonly #registered = new Set<[name: keyof Events, listener: (event: never) => void]>();
  #ended = false;

  /**
   * Calls `listener` at each `name` until the returned function is called. Each call is a registration of its own, even for
   * the same function, and its returned function stops this registration only.
   *
   * @throws TypeError if `listener` is no function
   */
  on<Name extends keyof Events>(name: Name, listener: (event: Events[Name]) => void): () => void {
    needed('function', 'listener', listener);
    const registration: [Name, typeof listener] = [name, listener];
    if (!this.#ended) this.#registered.add(registration);
    return () => void this.#registered.delete(registration);
  }

  emit<Name extends keyof Events>(name: Name, event: Events[Name]): void {
    for (const registration of [...this.#registered]) {
      const [registered, listener] = registration;
      if (registered !== name || !this.#registered.has(registration)) continue;
      try {
        (listener as (event: Events[Name]) => void)(event);
      } catch (error) {
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }

  has(name: keyof Events): boolean {
    return [...this.#registered].some(([registered]) => registered === name);
  }

  /** Nothing is delivered any more, not even the rest of an event that is being delivered. */
  end(): void {
    this.#ended = true;
    this.#registered.clear();
  }
}
