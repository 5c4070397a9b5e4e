import { needed } from './argument.ts';

type Registration<Events> = { name: keyof Events; listener: ((event: never) => void) | undefined };

/**
 * Typed events. A listener that throws does not stop the others: its error is reported as uncaught.
 *
 * A listener that is registered while an event is delivered gets the next event. A listener that is stopped meanwhile gets
 * nothing more.
 */
export class Emitter<Events extends object> {
  // The array is replaced, never changed: an event in delivery goes through those that were registered when it came.
  #registered: readonly Registration<Events>[] = [];
  #ended = false;

  /**
   * Calls `listener` at each `name` until the returned function is called. Each call is a registration of its own, even for
   * the same function, and its returned function stops this registration only.
   *
   * @throws TypeError if `listener` is no function
   */
  on<Name extends keyof Events>(name: Name, listener: (event: Events[Name]) => void): () => void {
    needed('function', 'listener', listener);
    const registration: Registration<Events> = { name, listener };
    if (!this.#ended) this.#registered = [...this.#registered, registration];
    return () => {
      registration.listener = undefined;
      this.#registered = this.#registered.filter((other) => other !== registration);
    };
  }

  emit<Name extends keyof Events>(name: Name, event: Events[Name]): void {
    for (const registration of this.#registered) {
      if (registration.name !== name) continue;
      try {
        (registration.listener as ((event: Events[Name]) => void) | undefined)?.(event);
      } catch (error) {
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }

  has(name: keyof Events): boolean {
    return this.#registered.some((registration) => registration.name === name);
  }

  /** Nothing is delivered any more, not even the rest of an event that is being delivered. */
  end(): void {
    this.#ended = true;
    for (const registration of this.#registered) registration.listener = undefined;
    this.#registered = [];
  }
}
