import type { KubeObject } from './objects.ts';
import { Reflector, type ReflectorOptions } from './reflector.ts';

/**
 * The objects of a kind in all namespaces, or in some: then with one reflector each, since RBAC may allow only these.
 */
export class NamespacedReflectors {
  readonly reflectors: readonly Reflector[];
  readonly #byNamespace: ReadonlyMap<string | undefined, Reflector>;

  /** @param namespaces all if empty */
  constructor(namespaces: readonly string[], options: Omit<ReflectorOptions, 'namespace'>) {
    this.#byNamespace =
      namespaces.length === 0
        ? new Map([[undefined, new Reflector(options)]])
        : new Map(namespaces.map((namespace) => [namespace, new Reflector({ ...options, namespace })]));
    this.reflectors = [...this.#byNamespace.values()];
  }

  /** By `namespace/name`. Must not be changed. */
  get(key: string): KubeObject | undefined {
    return this.#of(key.slice(0, key.indexOf('/')))?.get(key);
  }

  /** Objects of one namespace. Must not be changed. */
  *objects(namespace: string): Generator<KubeObject> {
    yield* this.#of(namespace)?.objects(namespace) ?? [];
  }

  #of(namespace: string): Reflector | undefined {
    return this.#byNamespace.get(undefined) ?? this.#byNamespace.get(namespace);
  }
}
