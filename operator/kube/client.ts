import { z } from 'zod';
import type { Answer, Method, Request, Transport } from './connection.ts';
import { errorOfAnswer, errorOfSilence, isKubeError, KubeError } from './errors.ts';
import { type Kind, type KubeObject, kindOf, Metadata, pathOf, type Ref } from './objects.ts';

/** Owns the fields that the operator applies. */
export const FIELD_MANAGER = 'pushcluster-operator';

/** As long as the API server itself lets a request take by default is a minute; nothing here is worth waiting for that long. */
const REQUEST_TIMEOUT_MS = 15_000;

/**
 * The first version of the API server's store, which is older than every object in it. On one that is there it is a conflict, in
 * the same moment in which it would be written; where there is none it is made.
 */
const OLDER_THAN_ALL = '1';

/** Asked before every write. Returns the milliseconds that a write may still take; throws where none may be made. */
export type WriteGuard = () => number;

export type Query = Record<string, string | number | boolean | undefined>;
export type ListOptions = {
  /** All namespaces where absent. */
  namespace?: string;
  labelSelector?: string;
  fieldSelector?: string;
  /** Objects a page. */
  limit?: number;
  continue?: string;
};
export type Page = { items: KubeObject[]; resourceVersion: string; continue: string | undefined };

/** What every object has. Objects are JSON as the API server gave it: no field is dropped, a time stays a string. */
const Any = z.looseObject({ metadata: Metadata });
const List = z.looseObject({
  metadata: z.looseObject({ resourceVersion: z.string().default(''), continue: z.string().optional() }),
  items: z.array(z.unknown()).nullish(),
});
const Resources = z.object({ resources: z.array(z.object({ kind: z.string() })) });

/**
 * Reads and writes objects of a Kubernetes API. Its methods reject with a KubeError, or with what the guard throws.
 * Requests are counted by verb.
 */
export class Client {
  readonly #transport: Transport;
  readonly #guard: WriteGuard | undefined;
  readonly #timeout: number;
  readonly #fieldManager: string;
  /** Requests sent: reads, writes and watches. */
  readonly counts: { reads: number; writes: number; watches: number };

  constructor(
    transport: Transport,
    {
      guard,
      timeout = REQUEST_TIMEOUT_MS,
      fieldManager = FIELD_MANAGER,
      counts = { reads: 0, writes: 0, watches: 0 },
    }: { guard?: WriteGuard; timeout?: number; fieldManager?: string; counts?: Client['counts'] } = {},
  ) {
    this.#transport = transport;
    this.#guard = guard;
    this.#timeout = timeout;
    this.#fieldManager = fieldManager;
    this.counts = counts;
  }

  /** The namespace of the operator itself. */
  get namespace(): string {
    return this.#transport.namespace;
  }

  /** The same client, whose every write asks `guard` first, and once more when it is about to go out. */
  guarded(guard: WriteGuard, timeout = this.#timeout): Client {
    return new Client(this.#transport, { guard, timeout, fieldManager: this.#fieldManager, counts: this.counts });
  }

  /** The object, or undefined where there is none. */
  async get(ref: Ref): Promise<KubeObject | undefined> {
    try {
      return objectOf(await this.#read(pathOf(kindOf(ref), ref.metadata)), kindOf(ref));
    } catch (error) {
      if (isKubeError(error, 'notFound')) return undefined;
      throw error;
    }
  }

  /** One page of a kind's objects. */
  async list(kind: Kind, options: ListOptions = {}): Promise<Page> {
    const { namespace, ...query } = options;
    const path = pathOf(kind, namespace === undefined ? {} : { namespace });
    const list = parsed(List, await this.#read(withQuery(path, query)), path);
    return {
      items: (list.items ?? []).map((item) => objectOf(item, kind)),
      resourceVersion: list.metadata.resourceVersion,
      continue: list.metadata.continue || undefined,
    };
  }

  /** All of a kind's objects. */
  async listAll(kind: Kind, options: ListOptions = {}): Promise<KubeObject[]> {
    const items: KubeObject[] = [];
    let next: string | undefined;
    do {
      const page = await this.list(kind, { limit: 500, ...options, ...(next ? { continue: next } : {}) });
      items.push(...page.items);
      next = page.continue;
    } while (next);
    return items;
  }

  /** Makes the fields of `object` be as given, and those that were given before and aren't any more go (server-side apply). */
  apply(object: Ref, { dryRun = false }: { dryRun?: boolean } = {}): Promise<KubeObject> {
    return this.#apply(object, pathOf(kindOf(object), object.metadata), dryRun);
  }

  /** The same with an object that must not be there yet: undefined, and nothing is changed, where one has its name. */
  async applyNew(object: Ref): Promise<KubeObject | undefined> {
    try {
      const metadata = { ...object.metadata, resourceVersion: OLDER_THAN_ALL };
      return await this.apply({ ...object, metadata });
    } catch (error) {
      if (isKubeError(error, 'conflict')) return undefined;
      throw error;
    }
  }

  /** The same with the status subresource. */
  applyStatus(object: Ref & { status: unknown }): Promise<KubeObject> {
    return this.#apply(object, pathOf(kindOf(object), { ...object.metadata, subresource: 'status' }), false);
  }

  /** Makes an object that must not be there yet. */
  async create(object: Ref): Promise<KubeObject> {
    const { name: _, ...place } = object.metadata;
    const path = withQuery(pathOf(kindOf(object), place), { fieldManager: this.#fieldManager });
    return objectOf(await this.#write('POST', path, object), kindOf(object));
  }

  /** Replaces an object as a whole; a conflict where it has changed since its resourceVersion. */
  async replace(object: Ref): Promise<KubeObject> {
    const path = withQuery(pathOf(kindOf(object), object.metadata), { fieldManager: this.#fieldManager });
    return objectOf(await this.#write('PUT', path, object), kindOf(object));
  }

  /** Changes single fields (JSON merge patch): for annotations of pods, which others own. */
  async patch(ref: Ref, change: object): Promise<KubeObject> {
    const path = withQuery(pathOf(kindOf(ref), ref.metadata), { fieldManager: this.#fieldManager });
    return objectOf(await this.#write('PATCH', path, change, 'application/merge-patch+json'), kindOf(ref));
  }

  /**
   * Deletes an object, and what it owns. False where there was none.
   * @param preconditions a conflict where the object is another one by now
   * @param propagationPolicy what it owns goes after it (Background), or before it (Foreground)
   */
  async delete(
    ref: Ref,
    preconditions: { uid?: string; resourceVersion?: string } = {},
    propagationPolicy: 'Background' | 'Foreground' = 'Background',
  ): Promise<boolean> {
    const options = { apiVersion: 'v1', kind: 'DeleteOptions', propagationPolicy, preconditions };
    try {
      await this.#write('DELETE', pathOf(kindOf(ref), ref.metadata), options);
      return true;
    } catch (error) {
      if (isKubeError(error, 'notFound')) return false;
      throw error;
    }
  }

  /** Puts a question that is an object, such as a SubjectAccessReview, and returns it with its answer. It writes nothing. */
  ask(path: string, question: object): Promise<unknown> {
    this.counts.reads++;
    const body = JSON.stringify(question);
    return this.#json({ method: 'POST', path, body, signal: AbortSignal.timeout(this.#timeout) });
  }

  /**
   * Those of `kinds` that the API has: ServiceMonitors are there only where Prometheus' operator is. One request for each
   * group and version.
   */
  async served(kinds: readonly Kind[]): Promise<Kind[]> {
    const names = new Map<string, Set<string>>();
    for (const apiVersion of new Set(kinds.map((kind) => kind.apiVersion)))
      names.set(apiVersion, await this.#kindsOf(apiVersion));
    return kinds.filter(({ apiVersion, kind }) => names.get(apiVersion)?.has(kind));
  }

  /** Begins a watch: its answer is a stream of lines. No time limit but `signal`. */
  async watch(kind: Kind, namespace: string | undefined, query: Query, signal: AbortSignal): Promise<unknown> {
    this.counts.watches++;
    const path = pathOf(kind, namespace === undefined ? {} : { namespace });
    const answer = await this.#answer({ method: 'GET', path: withQuery(path, { ...query, watch: true }), signal });
    return answer.stream();
  }

  async #kindsOf(apiVersion: string): Promise<Set<string>> {
    try {
      const path = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
      return new Set(parsed(Resources, await this.#read(path), path).resources.map(({ kind }) => kind));
    } catch (error) {
      if (isKubeError(error, 'notFound')) return new Set();
      throw error;
    }
  }

  async #apply(object: Ref, path: string, dryRun: boolean): Promise<KubeObject> {
    const query = { fieldManager: this.#fieldManager, force: true, dryRun: dryRun ? 'All' : undefined };
    // JSON is YAML too.
    const answer = await this.#write('PATCH', withQuery(path, query), object, 'application/apply-patch+yaml');
    return objectOf(answer, kindOf(object));
  }

  async #read(path: string): Promise<unknown> {
    this.counts.reads++;
    return this.#json({ method: 'GET', path, signal: AbortSignal.timeout(this.#timeout) });
  }

  async #write(method: Method, path: string, body: object, contentType?: string): Promise<unknown> {
    const allowed = this.#guard?.() ?? Number.POSITIVE_INFINITY;
    const guard = this.#guard;
    let refusal: unknown;
    const beforeSend = () => {
      try {
        guard?.();
      } catch (error) {
        refusal = error;
        throw error;
      }
    };
    this.counts.writes++;
    try {
      return await this.#json({
        method,
        path,
        body: JSON.stringify(body),
        ...(contentType ? { contentType } : {}),
        signal: AbortSignal.timeout(Math.ceil(Math.min(this.#timeout, allowed))),
        ...(guard ? { beforeSend } : {}),
      });
    } catch (error) {
      throw refusal ?? error;
    }
  }

  async #json(request: Request): Promise<unknown> {
    const answer = await this.#answer(request);
    try {
      return JSON.parse(await answer.text());
    } catch (error) {
      throw errorOfSilence(error, `${request.method} ${request.path} was answered by something else than JSON`);
    }
  }

  async #answer(request: Request): Promise<Answer> {
    const what = `no answer of the API server to ${request.method} ${request.path.split('?', 1)[0]}`;
    const answer = await this.#transport.send(request).catch((error: unknown) => {
      throw errorOfSilence(error, what);
    });
    if (answer.status >= 200 && answer.status < 300) return answer;
    const body = await answer.text().catch((error: unknown) => {
      throw errorOfSilence(error, what);
    });
    throw errorOfAnswer(answer.status, body, answer.headers);
  }
}

/** An object with its kind, which lists leave out of their items. */
export function objectOf(json: unknown, { apiVersion, kind }: Kind): KubeObject {
  const object = parsed(Any, json, `a ${kind}`);
  return { ...object, apiVersion, kind };
}

function parsed<T>(schema: z.ZodType<T>, json: unknown, what: string): T {
  const result = schema.safeParse(json);
  if (result.success) return result.data;
  throw new KubeError('invalid', `the API server answered ${what} in a form that is unknown: ${result.error.message}`);
}

function withQuery(path: string, query: Query): string {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value !== undefined) parameters.set(name, String(value));
  const text = parameters.toString();
  return text === '' ? path : `${path}?${text}`;
}
