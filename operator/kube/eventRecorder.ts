import { randomBytes } from 'node:crypto';
import { type Clock, systemClock } from '@pushcluster/runtime/clock.ts';
import type { Client } from './client.ts';
import { microTime } from './lease.ts';
import { KINDS, type KubeObject } from './objects.ts';

/** The same thing said again within this time is counted, and not told anew. */
const SERIES_MS = 600_000;
/** A series' count is written at most this often. */
const SERIES_WRITE_MS = 60_000;
/** Of client-go: 25 events of an object at once, then one in 5 minutes. */
const BURST = 25;
const REFILL_MS = 300_000;
/** Objects and series that are remembered; the oldest go first. */
const MAX_REMEMBERED = 2_000;
/** Events that wait to be sent; those beyond are dropped and counted. */
const MAX_WAITING = 100;
/** The API's own limit is 1 KiB. */
const MAX_NOTE = 1_000;

export type EventInput = {
  type: 'Normal' | 'Warning';
  /** One word in CamelCase, for machines: ScalingDown. */
  reason: string;
  /** What the operator did or tried, in CamelCase: Reconcile. */
  action: string;
  /** A sentence for people. */
  note: string;
};

type Series = { name: string; namespace: string; count: number; since: number; writtenAt: number };
type Allowance = { tokens: number; at: number };

/**
 * Writes events about objects, best effort: what can't be written is dropped and counted. Call it on transitions only;
 * what is said again within 10 minutes raises a count.
 */
export class EventRecorder {
  readonly counts = { written: 0, repeated: 0, limited: 0, dropped: 0, failed: 0 };
  readonly #client: Client;
  readonly #instance: string;
  readonly #controller: string;
  readonly #clock: Clock;
  readonly #onTrouble: (error: unknown) => void;
  readonly #series = new Map<string, Series>();
  readonly #allowances = new Map<string, Allowance>();
  #waiting = 0;
  /** Milliseconds since 1970 that the name of the last event says. */
  #lastTime = 0;
  #last: Promise<void> = Promise.resolve();

  /** @param instance this process: a pod's name */
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

  /** Returns at once, and never throws. */
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

  /** Resolves when what was recorded so far is written, or has failed. */
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

  /** Grows with time: kubectl lists events by name, and `describe` doesn't sort those of the events API otherwise. */
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
    const { tokens, at } = this.#allowances.get(subject) ?? { tokens: BURST, at: now };
    const left = Math.min(BURST, tokens + (now - at) / REFILL_MS);
    remember(this.#allowances, subject, { tokens: left >= 1 ? left - 1 : left, at: now });
    return left >= 1;
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
