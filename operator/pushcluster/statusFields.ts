import type { Clock } from '@pushcluster/runtime/clock.ts';
import { Status } from '../api/pushCluster.ts';
import { isKubeError } from '../kube/errors.ts';

/** Fields that the CRD did not have are tried again after this time, milliseconds. */
export const FORGET_MS = 600_000;

/** How the API server names a field of an applied status that the CRD does not have. */
const UNDECLARED = /\.status((?:\.\w+|\[[^\]]*\])+): field not declared in schema/g;

/**
 * Knows which fields of the status the installed CRD does not have: it may be older than the operator. The API server
 * rejects the whole status because of one of them.
 */
export class StatusFields {
  readonly #clock: Pick<Clock, 'now'>;
  readonly #missing = new Set<string>();
  #since = 0;

  constructor(clock: Pick<Clock, 'now'>) {
    this.#clock = clock;
  }

  /** The status without fields that the CRD does not have. */
  known(status: Status): Status {
    if (this.#clock.now() - this.#since >= FORGET_MS) this.#missing.clear();
    if (this.#missing.size === 0) return status;
    const known = structuredClone(status);
    for (const field of this.#missing) remove(known, field.replaceAll('[]', '.[]').split('.'));
    return Status.parse(known);
  }

  /** Learns from the error of applying a status. Returns the fields that were not known to be missing. */
  learn(error: unknown): string[] {
    if (!isKubeError(error, 'invalid')) return [];
    const named = [...error.message.matchAll(UNDECLARED)].map(([, path = '']) =>
      path.slice(1).replace(/\[.*?\]/g, '[]'),
    );
    const fields = [...new Set(named)].filter((field) => !this.#missing.has(field));
    if (this.#missing.size === 0) this.#since = this.#clock.now();
    for (const field of fields) this.#missing.add(field);
    return fields;
  }
}

/** Removes a field. A part `[]` of the path means all entries of a list. */
function remove(value: unknown, [part = '', ...rest]: readonly string[]): void {
  if (typeof value !== 'object' || value === null) return;
  if (part === '[]' && Array.isArray(value)) for (const each of value) remove(each, rest);
  else if (rest.length === 0) Reflect.deleteProperty(value, part);
  else remove(Reflect.get(value, part), rest);
}
