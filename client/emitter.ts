import { needed } from './argument.ts';

type Registration = { listener: ((event: never) => void) | undefined };

/** Typed events. A listener that throws does not stop the others: its error is thrown as uncaught. */
export class Emitter<Events extends object> {
  // An array is replaced, never changed: who is being told an event goes through those that were there when it came.
  readonly #registered = new Map<keyof Events, readonly Registration[]>();
  #ended = false;

  /**
   * Calls `listener` at each `name` until the returned function is called. Each call registers anew, to be stopped by
   * itself; what is registered while an event is told gets the next.
   *
   * @throws TypeError where `listener` is no function
   */
  on<Name extends keyof Events>(name: Name, listener: (event: Events[Name]) => void): () => void {
    needed('function', 'A listener', listener);
    const registration: Registration = { listener };
    if (!this.#ended) this.#registered.set(name, [...this.#of(name), registration]);
    return () => {
      registration.listener = undefined;
      const left = this.#of(name).filter((other) => other !== registration);
      if (left.length > 0) this.#registered.set(name, left);
      else this.#registered.delete(name);
    };
  }

  emit<Name extends keyof Events>(name: Name, event: Events[Name]): void {
    for (const registration of this.#of(name)) {
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
    return this.#registered.has(name);
  }

  /** Nothing is told any more, not even the rest of an event that is being told. */
  end(): void {
    this.#ended = true;
    for (const registrations of this.#registered.values())
      for (const registration of registrations) registration.listener = undefined;
    this.#registered.clear();
  }

  #of(name: keyof Events): readonly Registration[] {
    return this.#registered.get(name) ?? [];
  }
}
