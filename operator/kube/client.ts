import { parseJson } from '@pushcluster/protocol/parseJson.ts';
import { zodSentence } from '@pushcluster/runtime/zodSentence.ts';
import { z } from 'zod';
import type { Answer, Method, Request, Transport } from './connection.ts';
import { errorOfAnswer, errorOfSilence, isKubeError, KubeError } from './errors.ts';
import { type Kind, type KubeObject, kindOf, Metadata, pathOf, type Ref } from './objects.ts';

/** Field manager of the fields that the operator applies. */
export const FIELD_MANAGER = 'pushcluster-operator';

/** Shorter than the API server's own default, a minute. */
const REQUEST_TIMEOUT_MS = 15_000;

/**
 * A resourceVersion older than any object. Applied to an existing object it is a conflict, checked atomically with the
 * write; otherwise the object is created.
 */
const OLDER_THAN_ALL = '1';

/** Called before every write. Returns the milliseconds that the write may take; throws if none is allowed. */
export type WriteGuard = () => number;

export type Query = Record<string, string | number | boolean | undefined>;
export type ListOptions = {
  /** Default: all namespaces. */
  namespace?: string;
  labelSelector?: string;
  fieldSelector?: string;
  /** Maximum number of objects in a page. */
  limit?: number;
  continue?: string;
};
export type Page = { items: KubeObject[]; resourceVersion: string; continue: string | undefined };

/** Any object. It stays JSON as the API server returned it: no field is dropped and times are strings. */
const Any = z.looseObject({ metadata: Metadata });
const List = z.looseObject({
  metadata: z.looseObject({ resourceVersion: z.string().default(''), continue: z.string().optional() }),
  items: z.array(z.unknown()).nullish(),
});
const Group = z.object({ versions: z.array(z.object({ groupVersion: z.string() })) });
const Resources = z.object({ resources: z.array(z.object({ kind: z.string() })) });

/**
 * Reads and writes objects of a Kubernetes API. Methods reject with a KubeError, or with what the guard throws.
 * Requests are counted by verb.
 */
export class Client {
  readonly #transport: Transport;
  readonly #guard: WriteGuard | undefined;
  readonly #timeout: number;
  readonly #fieldManager: string;
  /** Number of requests sent. */
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

  /** The same client with a guard: it is called before every write, and again just before the request is sent. */
  guarded(guard: WriteGuard, timeout = this.#timeout): Client {
    return new Client(this.#transport, { guard, timeout, fieldManager: this.#fieldManager, counts: this.counts });
  }

  /** The object, or undefined if it does not exist. */
  async get(ref: Ref): Promise<KubeObject | undefined> {
    try {
      return objectOf(await this.#read(pathOf(kindOf(ref), ref.metadata)), kindOf(ref));
    } catch (error) {
      if (isKubeError(error, 'notFound')) return undefined;
      throw error;
    }
  }

  /** One page of the objects of a kind. */
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

  /** All objects of a kind. */
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

  /**
   * Server-side apply: sets the fields of `object` and removes those that were applied before but are no longer in it.
   */
  apply(object: Ref, { dryRun = false }: { dryRun?: boolean } = {}): Promise<KubeObject> {
    return this.#apply(object, pathOf(kindOf(object), object.metadata), dryRun);
  }

  /** Server-side apply of a new object. Undefined, without any change, if an object of its name exists. */
  async applyNew(object: Ref): Promise<KubeObject | undefined> {
    try {
      const metadata = { ...object.metadata, resourceVersion: OLDER_THAN_ALL };
      return await this.apply({ ...object, metadata });
    } catch (error) {
      if (isKubeError(error, 'conflict')) return undefined;
      throw error;
    }
  }

  /** Server-side apply of the status subresource. */
  applyStatus(object: Ref & { status: unknown }): Promise<KubeObject> {
    return this.#apply(object, pathOf(kindOf(object), { ...object.metadata, subresource: 'status' }), false);
  }

  /** Creates an object. A KubeError if it exists. */
  async create(object: Ref): Promise<KubeObject> {
    const { name: _, ...place } = object.metadata;
    const path = withQuery(pathOf(kindOf(object), place), { fieldManager: this.#fieldManager });
    return objectOf(await this.#write('POST', path, object), kindOf(object));
  }

  /** Replaces a whole object. A conflict if it has changed since its resourceVersion. */
  async replace(object: Ref): Promise<KubeObject> {
    const path = withQuery(pathOf(kindOf(object), object.metadata), { fieldManager: this.#fieldManager });
    return objectOf(await this.#write('PUT', path, object), kindOf(object));
  }

  /** Changes single fields (JSON merge patch) of an object that others own, such as annotations of a pod. */
  async patch(ref: Ref, change: object): Promise<KubeObject> {
    const path = withQuery(pathOf(kindOf(ref), ref.metadata), { fieldManager: this.#fieldManager });
    return objectOf(await this.#write('PATCH', path, change, 'application/merge-patch+json'), kindOf(ref));
  }

  /**
   * Sets the number of replicas by the scale subresource. A conflict if the object has changed since its
   * resourceVersion. The API server records no owner of a number that was not set before.
   */
  async scale(ref: Ref & { metadata: { resourceVersion?: string } }, replicas: number): Promise<void> {
    const { name, namespace, resourceVersion } = ref.metadata;
    const path = pathOf(kindOf(ref), { name, namespace, subresource: 'scale' });
    const metadata = { name, namespace, resourceVersion };
    // A PUT: a patch is refused where no number is set yet.
    await this.#write('PUT', withQuery(path, { fieldManager: this.#fieldManager }), {
      ...{ apiVersion: 'autoscaling/v1', kind: 'Scale', metadata, spec: { replicas } },
    });
  }

  /**
   * Deletes an object and its dependents. False if it does not exist.
   * @param preconditions a conflict if they do not hold, for example because the object was replaced
   * @param propagationPolicy whether dependents are deleted after it (Background) or before it (Foreground)
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

  /** Posts a review, such as a SubjectAccessReview, and returns it with its status. Nothing is written. */
  ask(path: string, question: object): Promise<unknown> {
    this.counts.reads++;
    const body = JSON.stringify(question);
    return this.#json({ method: 'POST', path, body, signal: AbortSignal.timeout(this.#timeout) });
  }

  /**
   * Those of `kinds` that the API server serves: for example, ServiceMonitors exist only with the Prometheus Operator.
   * One request for each group and version.
   */
  async served(kinds: readonly Kind[]): Promise<Kind[]> {
    const names = new Map<string, Set<string>>();
    for (const apiVersion of new Set(kinds.map((kind) => kind.apiVersion)))
      names.set(apiVersion, await this.#kindsOf(apiVersion));
    return kinds.filter(({ apiVersion, kind }) => names.get(apiVersion)?.has(kind));
  }

  /** `group/version` of each version of a group that the API server serves, by itself or by an aggregated API. */
  async versionsOf(group: string): Promise<string[]> {
    try {
      const path = `/apis/${group}`;
      return parsed(Group, await this.#read(path), path).versions.map(({ groupVersion }) => groupVersion);
    } catch (error) {
      if (isKubeError(error, 'notFound')) return [];
      throw error;
    }
  }

  /** Starts a watch. The response is a stream of lines without a timeout; `signal` ends it. */
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
    // JSON is valid YAML.
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
    const what = `${request.method} ${request.path}`;
    const text = await answer.text().catch((error: unknown) => {
      throw errorOfSilence(error, `the response to ${what} was interrupted`);
    });
    const json = parseJson(text);
    if (json === undefined) throw new KubeError('unavailable', `${what} did not return JSON`);
    return json;
  }

  async #answer(request: Request): Promise<Answer> {
    const what = `no response from the API server to ${request.method} ${request.path.split('?', 1)[0]}`;
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

/** An object with its kind. The items of lists have none. */
export function objectOf(json: unknown, { apiVersion, kind }: Kind): KubeObject {
  const object = parsed(Any, json, `a ${kind}`);
  return { ...object, apiVersion, kind };
}

function parsed<T>(schema: z.ZodType<T>, json: unknown, what: string): T {
  const result = schema.safeParse(json, { reportInput: true });
  if (result.success) return result.data;
  const problems = result.error.issues.map((issue) => `${issue.path.join('.') || 'it'} ${zodSentence(issue)}`);
  throw new KubeError('invalid', `the API server returned ${what} in an unknown form: ${problems.join('; ')}`);
}

function withQuery(path: string, query: Query): string {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value !== undefined) parameters.set(name, String(value));
  const text = parameters.toString();
  return text === '' ? path : `${path}?${text}`;
}
