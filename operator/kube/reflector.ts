import { fullJitter } from '@pushcluster/protocol/fullJitter.ts';
import { type Clock, pause, systemClock } from '@pushcluster/runtime/clock.ts';
import { z } from 'zod';
import { type Client, objectOf } from './client.ts';
import { KubeError } from './errors.ts';
import { type Kind, type KubeObject, keyOf } from './objects.ts';
import { watchEvents } from './watchStream.ts';

/**
 * A watch that received nothing for this long is restarted. An API server sends a bookmark about once a minute, but
 * none if no object of the kind was changed since the start of the watch, so silence alone does not tell whether the
 * watch hangs.
 */
const SILENCE_MS = 100_000;
/** Duration of a watch: random, as in client-go, so that connections spread over API servers. */
const WATCH_SECONDS = { least: 300, most: 600 };
/** Longest back-off, milliseconds. Short, since drift is not noticed meanwhile. */
const BACK_OFF = { first: 250, longest: 10_000 };
/** The same without a permission or a kind: an administrator has to act. */
const BARRED_BACK_OFF_MS = 30_000;
/** A watch that ends sooner counts as failed, so that it is not restarted in a tight loop. */
const SOUND_WATCH_MS = 5_000;
const PAGE = 500;

export type Change =
  | { type: 'added'; object: KubeObject; before?: undefined }
  | { type: 'changed'; object: KubeObject; before: KubeObject }
  /** `object` is its last known state. */
  | { type: 'deleted'; object: KubeObject; before?: undefined };

export type ReflectorOptions = {
  client: Client;
  kind: Kind;
  /** Default: all namespaces. */
  namespace?: string;
  labelSelector?: string;
  fieldSelector?: string;
  /** Called after each change of the store. Must not throw. */
  onChange?: (change: Change) => void;
  /** Called when a list or watch failed, before its retry. */
  onTrouble?: (error: KubeError) => void;
  clock?: Clock;
  random?: () => number;
  /** Milliseconds of silence after which a watch is restarted. A watch without any response counts as failed. */
  silence?: number;
  page?: number;
  /** Keep `managedFields`: half of the size of an object. Default: false. */
  managedFields?: boolean;
  /** Reduces an object to what is kept of it. Default: the whole object. */
  kept?: (object: KubeObject) => KubeObject;
};

/** A bookmark. */
const Bookmark = z.object({ metadata: z.object({ resourceVersion: z.string() }) });

/** A local copy of the objects of a kind, kept up to date by list and watch. */
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
  /** The resourceVersion to continue the watch from; undefined if a list is needed first. */
  #version: string | undefined;
  #failedInARow = 0;
  #trouble: KubeError | undefined;
  #failingSince: number | undefined;

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

  /** Whether the first list has completed. */
  get isSynced(): boolean {
    return this.#isSynced;
  }

  whenSynced(): Promise<void> {
    return this.#synced.promise;
  }

  /** Why the last list or watch failed; undefined if it succeeded. */
  get trouble(): KubeError | undefined {
    return this.#trouble;
  }

  /** The namespace of the objects; undefined: all. */
  get namespace(): string | undefined {
    return this.#options.namespace;
  }

  /** For how many milliseconds lists and watches have been failing; 0 if a watch works. */
  get failingFor(): number {
    return this.#failingSince === undefined ? 0 : this.#clock.now() - this.#failingSince;
  }

  /** Milliseconds since the last request or event: a few minutes at most, even if the API server does not respond. */
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
    // If changes were missed, a new list is needed. After a broken connection, the watch continues where it was.
    if (error.reason !== 'unavailable') this.#version = undefined;
    if (error.reason === 'expired') this.counts.expired++;
    else this.counts.failures++;
    this.#trouble = error;
    this.#failingSince ??= this.#clock.now();
    this.#options.onTrouble?.(error);
    const attempt = this.#failedInARow++;
    // The first list after an expiry needs no back-off: the API server is fine.
    if (error.reason === 'expired' && attempt === 0) return;
    const isBarred = error.reason === 'forbidden' || error.reason === 'notFound';
    const longest = isBarred ? BARRED_BACK_OFF_MS : BACK_OFF.longest;
    const wait = Math.max(error.retryAfter ?? 0, fullJitter(attempt, BACK_OFF.first, longest, this.#random()));
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
    // Objects that were deleted between two watches are found only by comparison.
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
    let callOffSound = () => {};
    const sound = () => {
      this.#failedInARow = 0;
      this.#failingSince = undefined;
    };
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
      callOffSound = this.#clock.after(SOUND_WATCH_MS, sound);
      for await (const { type, object } of watchEvents(stream, heard)) {
        sound();
        this.#take(type, object);
      }
    } catch (error) {
      if (!isSilent) throw error;
      if (isAnswered) return;
      this.counts.silences++;
      throw new KubeError('unavailable', `the watch of ${kind.plural} had no response for ${silence} ms`, {
        cause: error,
      });
    } finally {
      callOff();
      callOffSound();
      this.#ending.signal.removeEventListener('abort', end);
    }
    if (this.#clock.now() - began < SOUND_WATCH_MS)
      throw new KubeError('unavailable', `the API server ended the watch of ${kind.plural} immediately`);
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
      // Deleted and created again between two events.
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
