import { randomBytes } from 'node:crypto';
import { type Clock, systemClock } from '@pushcluster/runtime/clock.ts';
import { TokenBucket } from '@pushcluster/runtime/tokenBucket.ts';
import type { Client } from './client.ts';
import { microTime } from './lease.ts';
import { KINDS, type KubeObject } from './objects.ts';

/** An event that repeats within this time becomes a series: its count is increased. */
const SERIES_MS = 600_000;
/** Minimum time between two writes of the count of a series. */
const SERIES_WRITE_MS = 60_000;
/** Rate limit for the events of one object, as in client-go: a burst of 25, then one in 5 minutes. */
const LIMIT = { burst: 25, rate: 1 / 300 };
/** Maximum number of objects and of series in memory. The oldest are dropped first. */
const MAX_REMEMBERED = 2_000;
/** Maximum number of events in the send queue. More are dropped and counted. */
const MAX_WAITING = 100;
/** The API allows 1 KiB. */
const MAX_NOTE = 1_000;

export type EventInput = {
  type: 'Normal' | 'Warning';
  /** Machine-readable reason in CamelCase: ScaledDown. */
  reason: string;
  /** The action that was taken or failed, in CamelCase: Reconcile. */
  action: string;
  /** Human-readable message. */
  note: string;
};

type Series = { name: string; namespace: string; count: number; since: number; writtenAt: number };

/**
 * Writes Events about objects, best effort: an event that cannot be written is dropped and counted. Call it on
 * transitions only. An event that repeats within 10 minutes increases a count.
 */
export class EventRecorder {
  readonly counts = { written: 0, repeated: 0, limited: 0, dropped: 0, failed: 0 };
  readonly #client: Client;
  readonly #instance: string;
  readonly #controller: string;
  readonly #clock: Clock;
  readonly #onTrouble: (error: unknown) => void;
  readonly #series = new Map<string, Series>();
  readonly #allowances = new Map<string, TokenBucket>();
  #waiting = 0;
  /** Time in the name of the last event, milliseconds since 1970. */
  #lastTime = 0;
  #last: Promise<void> = Promise.resolve();

  /** @param instance name of this process: that of its pod */
  constructor(
    client: Client,
    instance: string,
    {
      clock = systemClock,
      onTrouble = () => {},
      controller = 'pushcluster.dev/operator',
    }: { clock?: Clock; onTrouble?: (error: unknown) => void; controller?: string } = {},
  ) {
    this.#client = client;
    this.#instance = instance;
    this.#controller = controller;
    this.#clock = clock;
    this.#onTrouble = onTrouble;
  }

  /** Queues an event. Never throws. */
  record(about: KubeObject, event: EventInput): void {
    const now = this.#clock.now();
    const subject = about.metadata.uid ?? about.metadata.name;
    const id = JSON.stringify([subject, event.type, event.reason, event.note]);
    const series = this.#series.get(id);
    if (series && now - series.since < SERIES_MS) {
      series.count++;
      this.counts.repeated++;
      if (now - series.writtenAt < SERIES_WRITE_MS) return;
      series.writtenAt = now;
      this.#send(() => this.#count(series));
      return;
    }
    if (!this.#allowed(subject, now)) {
      this.counts.limited++;
      return;
    }
    const namespace = about.metadata.namespace ?? 'default';
    const name = `${about.metadata.name.slice(0, 200)}.${this.#suffix()}`;
    remember(this.#series, id, { name, namespace, count: 1, since: now, writtenAt: now });
    this.#send(() => this.#create(about, event, { name, namespace }));
  }

  /** Resolves when all events recorded so far are written or have failed. */
  flush(): Promise<void> {
    return this.#last;
  }

  #send(write: () => Promise<unknown>): void {
    if (this.#waiting >= MAX_WAITING) {
      this.counts.dropped++;
      return;
    }
    this.#waiting++;
    this.#last = this.#last
      .then(write)
      .then(
        () => {
          this.counts.written++;
        },
        (error: unknown) => {
          this.counts.failed++;
          this.#onTrouble(error);
        },
      )
      .finally(() => {
        this.#waiting--;
      });
  }

  /** Increases with time: `kubectl describe` shows events of the events.k8s.io API in the order of their names. */
  #suffix(): string {
    this.#lastTime = Math.max(this.#clock.wall(), this.#lastTime + 1);
    return this.#lastTime.toString(16).padStart(12, '0') + randomBytes(4).toString('hex');
  }

  #create(about: KubeObject, { type, reason, action, note }: EventInput, place: { name: string; namespace: string }) {
    const { apiVersion, kind, metadata } = about;
    const { uid, resourceVersion } = metadata;
    const made = {
      ...kindOfEvent,
      metadata: place,
      eventTime: microTime(this.#clock.wall()),
      reportingController: this.#controller,
      reportingInstance: this.#instance.slice(0, 128),
      type,
      reason,
      action,
      note: note.length > MAX_NOTE ? `${note.slice(0, MAX_NOTE - 1)}…` : note,
      regarding: { apiVersion, kind, name: metadata.name, namespace: metadata.namespace, uid, resourceVersion },
    };
    return this.#client.create(made);
  }

  #count({ name, namespace, count }: Series): Promise<KubeObject> {
    const series = { count, lastObservedTime: microTime(this.#clock.wall()) };
    return this.#client.patch({ ...kindOfEvent, metadata: { name, namespace } }, { series });
  }

  #allowed(subject: string, now: number): boolean {
    const allowance = this.#allowances.get(subject) ?? new TokenBucket(LIMIT, now);
    remember(this.#allowances, subject, allowance);
    return allowance.take(now) === 0;
  }
}

const kindOfEvent = { apiVersion: KINDS.events.apiVersion, kind: KINDS.events.kind };

function remember<T>(map: Map<string, T>, key: string, value: T): void {
  map.delete(key);
  map.set(key, value);
  for (const oldest of map.keys()) {
    if (map.size <= MAX_REMEMBERED) return;
    map.delete(oldest);
  }
}
