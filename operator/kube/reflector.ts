import { fullJitter } from '@pushcluster/protocol/fullJitter.ts';
import { type Clock, pause, systemClock } from '@pushcluster/runtime/clock.ts';
import { z } from 'zod';
import { type Client, objectOf } from './client.ts';
import { KubeError } from './errors.ts';
import { type Kind, type KubeObject, keyOf } from './objects.ts';
import { watchEvents } from './watchStream.ts';

/**
 * An API server sends a bookmark about once a minute (with a quarter of jitter), but only one that is newer than where the
 * watch began: of a kind that nobody changes there is none. So silence may be a hang or not, and is ended by asking anew.
 */
const SILENCE_MS = 100_000;
/** A watch ends by itself after 5 to 10 minutes, as client-go's do, so that connections spread over API servers. */
const WATCH_SECONDS = { least: 300, most: 600 };
/** Short, since what drifts meanwhile isn't repaired. */
const BACK_OFF = { first: 250, longest: 10_000 };
/** Long enough that whoever accepts a watch and ends it at once isn't asked in a tight loop. */
const SOUND_WATCH_MS = 5_000;
const PAGE = 500;

export type Change =
  | { type: 'added'; object: KubeObject; before?: undefined }
  | { type: 'changed'; object: KubeObject; before: KubeObject }
  /** `object` is its last state that is known. */
  | { type: 'deleted'; object: KubeObject; before?: undefined };

export type ReflectorOptions = {
  client: Client;
  kind: Kind;
  /** All namespaces where absent. */
  namespace?: string;
  labelSelector?: string;
  fieldSelector?: string;
  /** Called after the store has changed. Must not throw. */
  onChange?: (change: Change) => void;
  /** Called when listing or watching failed, before the next try. */
  onTrouble?: (error: KubeError) => void;
  clock?: Clock;
  random?: () => number;
  /** Milliseconds of silence after which a watch is opened anew, and one that was not even answered counts as failed. */
  silence?: number;
  page?: number;
  /** Keep who owns which field: half of an object's size. */
  managedFields?: boolean;
  /** What to keep of an object, without its managed fields unless these are kept; all where absent. */
  kept?: (object: KubeObject) => KubeObject;
};

/** What bookmarks have, and nothing more. */
const Bookmark = z.object({ metadata: z.object({ resourceVersion: z.string() }) });

/** A copy of a kind's objects, kept true by list and watch. It holds what the cluster holds. */
export class Reflector {
  readonly kind: Kind;
  readonly counts = { lists: 0, watches: 0, expired: 0, silences: 0, failures: 0, events: 0, bookmarks: 0 };
  readonly #options: ReflectorOptions;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #store = new Map<string, KubeObject>();
  readonly #synced = Promise.withResolvers<void>();
  readonly #ending = new AbortController();
  #isSynced = false;
  #running: Promise<void> | undefined;
  #activeAt: number;
  /** From where to watch on; undefined where it takes a list first. */
  #version: string | undefined;
  #failedInARow = 0;
  #trouble: KubeError | undefined;

  constructor(options: ReflectorOptions) {
    this.kind = options.kind;
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? Math.random;
    this.#activeAt = this.#clock.now();
  }

  start(): void {
    this.#running ??= this.#run();
  }

  async stop(): Promise<void> {
    this.#ending.abort();
    await this.#running;
  }

  /** The first list is in the store. */
  get isSynced(): boolean {
    return this.#isSynced;
  }

  whenSynced(): Promise<void> {
    return this.#synced.promise;
  }

  /** Why it can't list or watch at the moment. */
  get trouble(): KubeError | undefined {
    return this.#trouble;
  }

  /** Milliseconds since it last asked or heard anything: some minutes at most, whether the API server answers or not. */
  get idleFor(): number {
    return this.#clock.now() - this.#activeAt;
  }

  /** By `namespace/name`. Must not be changed. */
  get(key: string): KubeObject | undefined {
    return this.#store.get(key);
  }

  /** All objects, or those of one namespace. Must not be changed. */
  *objects(namespace?: string): Generator<KubeObject> {
    for (const object of this.#store.values())
      if (namespace === undefined || object.metadata.namespace === namespace) yield object;
  }

  get size(): number {
    return this.#store.size;
  }

  async #run(): Promise<void> {
    const { signal } = this.#ending;
    while (!signal.aborted) {
      this.#activeAt = this.#clock.now();
      try {
        if (this.#version === undefined) await this.#list();
        await this.#watch();
      } catch (error) {
        if (signal.aborted) return;
        await this.#fail(
          error instanceof KubeError ? error : new KubeError('unavailable', String(error), { cause: error }),
        );
      }
    }
  }

  async #fail(error: KubeError): Promise<void> {
    // What is missing from the log of changes can only be had by a list; a silent or broken connection misses nothing.
    if (error.reason !== 'unavailable') this.#version = undefined;
    if (error.reason === 'expired') this.counts.expired++;
    else this.counts.failures++;
    this.#trouble = error;
    this.#options.onTrouble?.(error);
    const attempt = this.#failedInARow++;
    // The first list after an expiry needs no wait: nobody is in trouble.
    if (error.reason === 'expired' && attempt === 0) return;
    const wait = Math.max(error.retryAfter ?? 0, fullJitter(attempt, BACK_OFF.first, BACK_OFF.longest, this.#random()));
    await pause(this.#clock, wait, this.#ending.signal);
  }

  async #list(): Promise<void> {
    const { client, kind, namespace, labelSelector, fieldSelector, page: limit = PAGE } = this.#options;
    const options = {
      ...(namespace === undefined ? {} : { namespace }),
      ...(labelSelector === undefined ? {} : { labelSelector }),
      ...(fieldSelector === undefined ? {} : { fieldSelector }),
    };
    this.counts.lists++;
    const found = new Map<string, KubeObject>();
    let next: string | undefined;
    let version = '';
    do {
      this.#activeAt = this.#clock.now();
      const page = await client.list(kind, { ...options, limit, ...(next === undefined ? {} : { continue: next }) });
      for (const object of page.items) found.set(keyOf(object), object);
      version = page.resourceVersion;
      next = page.continue;
    } while (next !== undefined && !this.#ending.signal.aborted);
    if (this.#ending.signal.aborted) return;
    // Deleted while nobody watched: only the comparison tells.
    for (const [key, object] of this.#store) if (!found.has(key)) this.#remove(key, object);
    for (const [key, object] of found) this.#put(key, object);
    this.#version = version;
    this.#trouble = undefined;
    this.#isSynced = true;
    this.#synced.resolve();
  }

  async #watch(): Promise<void> {
    const { client, kind, namespace, labelSelector, fieldSelector, silence = SILENCE_MS } = this.#options;
    const { least, most } = WATCH_SECONDS;
    const query = {
      resourceVersion: this.#version,
      allowWatchBookmarks: true,
      timeoutSeconds: Math.round(least + this.#random() * (most - least)),
      labelSelector,
      fieldSelector,
    };
    this.counts.watches++;
    const began = this.#clock.now();
    const watching = new AbortController();
    const end = () => watching.abort();
    this.#ending.signal.addEventListener('abort', end, { once: true });
    let isSilent = false;
    let isAnswered = false;
    let callOff = () => {};
    const heard = () => {
      this.#activeAt = this.#clock.now();
      callOff();
      callOff = this.#clock.after(silence, () => {
        isSilent = true;
        watching.abort();
      });
    };
    try {
      heard();
      const stream = await client.watch(kind, namespace, query, watching.signal);
      heard();
      isAnswered = true;
      this.#trouble = undefined;
      for await (const { type, object } of watchEvents(stream, heard)) {
        this.#failedInARow = 0;
        this.#take(type, object);
      }
    } catch (error) {
      if (!isSilent) throw error;
      if (isAnswered) return;
      this.counts.silences++;
      throw new KubeError('unavailable', `the watch of ${kind.plural} had no answer for ${silence} ms`, {
        cause: error,
      });
    } finally {
      callOff();
      this.#ending.signal.removeEventListener('abort', end);
    }
    if (this.#clock.now() - began < SOUND_WATCH_MS)
      throw new KubeError('unavailable', `the watch of ${kind.plural} was ended by the API server as soon as it began`);
    this.#failedInARow = 0;
  }

  #take(type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK', json: unknown): void {
    if (type === 'BOOKMARK') {
      this.counts.bookmarks++;
      const bookmark = Bookmark.safeParse(json);
      if (bookmark.success) this.#version = bookmark.data.metadata.resourceVersion;
      return;
    }
    this.counts.events++;
    const object = objectOf(json, this.kind);
    const key = keyOf(object);
    if (type === 'DELETED') this.#remove(key, object);
    else this.#put(key, object);
    this.#version = object.metadata.resourceVersion;
  }

  #put(key: string, object: KubeObject): void {
    const before = this.#store.get(key);
    if (before?.metadata.resourceVersion === object.metadata.resourceVersion && before) return;
    const kept = this.#trimmed(object);
    this.#store.set(key, kept);
    if (!before) this.#options.onChange?.({ type: 'added', object: kept });
    else if (before.metadata.uid === kept.metadata.uid)
      this.#options.onChange?.({ type: 'changed', object: kept, before });
    else {
      // Deleted and made anew between two looks.
      this.#options.onChange?.({ type: 'deleted', object: before });
      this.#options.onChange?.({ type: 'added', object: kept });
    }
  }

  #remove(key: string, object: KubeObject): void {
    if (this.#store.delete(key)) this.#options.onChange?.({ type: 'deleted', object: this.#trimmed(object) });
  }

  #trimmed(object: KubeObject): KubeObject {
    const { managedFields, kept = (each) => each } = this.#options;
    if (managedFields) return kept(object);
    const { managedFields: _, ...metadata } = object.metadata;
    return kept({ ...object, metadata });
  }
}
