import { fullJitter } from '@pushcluster/protocol/fullJitter.ts';
import { decodePush } from '@pushcluster/protocol/push.ts';
import type { BusMessage } from '@pushcluster/runtime/bus/bus.ts';
import { type Clock, pause } from '@pushcluster/runtime/clock.ts';
import { type Extract, STORED_HEADERS, type StreamState } from '@pushcluster/runtime/history/historyStore.ts';
import type { Logger } from '@pushcluster/runtime/log.ts';
import type { GatewayMetrics } from '../../metrics/gatewayMetrics.ts';
import type { HubChannel } from '../hubChannel.ts';
import type { IgnoredMessages } from '../ignoredMessages.ts';
import type { Inlet } from '../inlet.ts';
import type { Merger } from '../merger.ts';
import { type Position, partOf } from '../messagePart.ts';
import type { HistoryMonitor, MonitoredRoom } from './historyMonitor.ts';
import { type RingBudget, RoomRing, type Stored } from './roomRing.ts';

/** Messages that wait while what is before them is read at most. More are read from the store. */
const MAX_WAITING = 1_000;
/** Pushes read at once. */
const BATCH = 200;
/** Every so many attempts to read are made at the leader: another server may be behind. */
const FRESH_EVERY = 4;
/** Milliseconds that messages of a room wait for the store to say where it begins. */
const START_MS = 2_000;
/** Milliseconds by which the store's expiry and this process may differ. */
const AGE_MARGIN_MS = 5_000;
/** Milliseconds between attempts to read: the first limit, and the largest. */
const [RETRY_FIRST_MS, RETRY_LONGEST_MS] = [20, 500];

export type HistoryInletOptions = {
  monitor: HistoryMonitor;
  budget: RingBudget;
  merger: Merger;
  ignored: IgnoredMessages;
  metrics: Pick<GatewayMetrics, 'historyRepairs' | 'recoveredMessages' | 'historyResets'>;
  clock: Clock;
  log: Logger;
};

/**
 * The inlet of a room with a history. NATS may deliver a stored push late, twice or not at all: each is taken once, in the
 * order of the history, and what did not come is read from the store.
 */
export class HistoryInlet implements Inlet, MonitoredRoom {
  readonly room: string;
  readonly #channel: HubChannel;
  readonly #options: HistoryInletOptions;
  readonly ring: RoomRing;
  #head: number | undefined;
  /** Reads for clients that are under way, by where they begin: those who come back together share one. */
  readonly #reads = new Map<number, Promise<Extract>>();
  /** Number of the last message in a frame that was sent to the shards. */
  #sent = 0;
  /** When `#head` was the last push, as far as anybody knew, by the clock's `now`. */
  #currentAt = Number.NEGATIVE_INFINITY;
  #cancelStart = () => {};
  #waiting: Stored[] = [];
  /** Pushes up to this number exist, and were not all taken. */
  #wanted = 0;
  #repairing = false;
  #closed = false;

  constructor(channel: HubChannel, room: string, options: HistoryInletOptions) {
    this.#channel = channel;
    this.room = room;
    this.#options = options;
    this.ring = new RoomRing(options.budget, 0);
  }

  get head(): number | undefined {
    return this.#head;
  }

  /** The history that the numbers count in; undefined before the store has said so. */
  get epoch(): string | undefined {
    return this.#options.monitor.state?.epoch;
  }

  /** The stream as it was last seen. */
  get stream(): StreamState | undefined {
    return this.#options.monitor.state;
  }

  /** Number of the last message of the room that was sent to the shards: members that are not behind have it. */
  get sent(): number {
    return this.#sent;
  }

  /** A frame with this position was sent to the shards. */
  framesSent({ seq, epoch }: Position): void {
    if (epoch === this.epoch) this.#sent = Math.max(this.#sent, seq);
  }

  /** Pushes of the room from `from` on. Rejects as the store does. */
  read(from: number, limit: number): Promise<Extract> {
    const underWay = this.#reads.get(from);
    if (underWay) return underWay;
    const read = this.#options.monitor.read(this.room, from, limit, false).finally(() => this.#reads.delete(from));
    this.#reads.set(from, read);
    return read;
  }

  /** Whether the stream has this number already: a client may have it from a gateway that is ahead. */
  hasReached(seq: number): Promise<boolean> {
    return this.#options.monitor.hasReached(seq);
  }

  accept(bytes: Uint8Array, { headers }: BusMessage): void {
    const seq = Number(headers?.get(STORED_HEADERS.seq) ?? 0);
    // Without a number it is no push of the history: how far a publisher has counted, or a push before the history began.
    if (!(seq > 0)) {
      if (headers === undefined) this.#passOn(bytes);
      return;
    }
    if (this.#head !== undefined && seq <= this.#head) return;
    const previous = Number(headers?.get(STORED_HEADERS.previous) ?? 0);
    const stored = { seq, previous, bytes };
    if (this.#head !== undefined && !this.#repairing && this.#follows(stored)) {
      this.#take(stored);
      return;
    }
    if (this.#waiting.length < MAX_WAITING) this.#waiting.push(stored);
    if (this.#head === undefined && this.#waiting.length === 1)
      this.#cancelStart = this.#options.clock.after(START_MS, () => this.begin(Number.POSITIVE_INFINITY));
    this.#want(seq, 'gap');
  }

  subscribed(): void {
    this.#options.monitor.remove(this);
    this.#options.monitor.add(this);
  }

  close(): void {
    this.#closed = true;
    if (this.#channel.history === this) this.#channel.history = undefined;
    this.ring.clear(0);
    this.#cancelStart();
    this.#options.monitor.remove(this);
  }

  begin(head: number): void {
    this.#cancelStart();
    if (this.#head !== undefined || this.#closed) return;
    // What came before the answer may be older than it: the room begins before the first of them.
    this.#waiting.sort((a, b) => a.seq - b.seq);
    const first = this.#waiting[0];
    this.#head = first === undefined ? head : Math.min(head, first.previous);
    this.#currentAt = this.#options.clock.now();
    this.#sent = this.#head;
    this.ring.clear(this.#head);
    this.#drain();
    if (head > this.#head && head < Number.POSITIVE_INFINITY) this.#want(head, 'gap');
    else if (this.#wanted > this.#head) this.#want(this.#wanted, 'gap');
  }

  exists(seq: number): void {
    if (this.#head !== undefined && seq > this.#head) this.#want(seq, 'compare');
  }

  renew(head: number): void {
    this.#options.log.warn({ room: this.room }, 'the history of the room is another one: made anew, or rolled back');
    this.#head = head;
    this.#sent = head;
    this.ring.clear(head);
    this.#wanted = 0;
    this.#waiting = [];
    this.#interrupted();
  }

  /** Whether nothing is missing between what was taken and this message. */
  #follows({ previous }: Stored): boolean {
    return previous === this.#head || (previous === 0 && this.#head === 0);
  }

  #want(seq: number, cause: 'gap' | 'compare') {
    this.#wanted = Math.max(this.#wanted, seq);
    if (this.#head === undefined || this.#repairing || this.#closed) return;
    this.#options.metrics.historyRepairs.inc({ cause });
    void this.#repair();
  }

  /** Reads what is missing, until everything up to `#wanted` was taken. */
  async #repair() {
    const { clock } = this.#options;
    this.#repairing = true;
    for (let attempt = 0; !this.#closed && this.#head! < this.#wanted; attempt++) {
      // The store may be away, or its answer not whole: again.
      const done = await this.#readOn(attempt % FRESH_EVERY === FRESH_EVERY - 1).catch(() => false);
      if (done) attempt = -1;
      else await pause(clock, fullJitter(attempt, RETRY_FIRST_MS, RETRY_LONGEST_MS));
    }
    this.#repairing = false;
    if (this.#closed) return;
    this.#drain();
    if (this.#head! < this.#wanted) this.#want(this.#wanted, 'gap');
  }

  /** Reads the next pushes that are missing and takes them. False if there were none. */
  async #readOn(isFresh: boolean): Promise<boolean> {
    const { monitor, metrics } = this.#options;
    const head = this.#head!;
    const { epoch } = monitor.state ?? {};
    // Beginning with the last push that was taken: if it is still there, limits have removed none after it.
    const from = isFresh ? head + 1 : Math.max(1, head);
    const { pushes, more } = await monitor.read(this.room, from, BATCH, isFresh);
    // The history became another one meanwhile.
    if (this.#closed || this.#head !== head || monitor.state?.epoch !== epoch) return false;
    const missed = pushes.filter(({ seq }) => seq > head);
    const isWhole = pushes[0]?.seq === head || this.#lacksNone(missed.length + (more ? 1 : 0));
    if (missed.length === 0) {
      // Another server may be behind. The leader knows: limits have removed what is wanted.
      if (!isFresh) return false;
      this.#interrupted();
      this.#head = this.#wanted;
      this.ring.clear(this.#head);
      return true;
    }
    if (!isWhole) {
      this.#interrupted();
      this.ring.clear(head);
    }
    for (const { seq, bytes } of missed) this.#take({ seq, previous: this.#head!, bytes });
    metrics.recoveredMessages.inc(missed.length);
    this.#drain();
    return true;
  }

  /**
   * Whether limits cannot have removed any push after `#head`, although that is gone itself: what came after it is younger
   * than the time since it was the last one, and the room is not full.
   * @param kept pushes that the history has of the room
   */
  #lacksNone(kept: number): boolean {
    const { monitor, clock } = this.#options;
    const { state, confirmedAt = Number.NEGATIVE_INFINITY } = monitor;
    if (state === undefined) return false;
    const age = clock.now() - Math.max(this.#currentAt, confirmedAt);
    return kept < state.messages && age + AGE_MARGIN_MS < state.maxAge;
  }

  /** An unknown number of pushes is missing. */
  #interrupted() {
    const { metrics, merger } = this.#options;
    metrics.historyResets.inc();
    merger.lose(this.#channel, 1);
  }

  /** Takes of what waits all that follows. */
  #drain() {
    this.#waiting.sort((a, b) => a.seq - b.seq);
    let next = 0;
    for (; next < this.#waiting.length; next++) {
      const stored = this.#waiting[next]!;
      if (stored.seq <= this.#head!) continue;
      if (!this.#follows(stored)) break;
      this.#take(stored);
    }
    this.#waiting.splice(0, next);
  }

  #take({ seq, previous, bytes }: Stored) {
    const { ignored, merger, monitor, clock } = this.#options;
    this.#head = seq;
    this.ring.add({ seq, previous, bytes }, this.#channel.rules.history?.messages ?? 1);
    if (!this.#repairing) this.#currentAt = clock.now();
    const push = ignored.decode(bytes, decodePush);
    if (!push || push.items.lengths.length === 0) return;
    const part = partOf(push, push.items, 0);
    const epoch = monitor.state?.epoch;
    if (epoch !== undefined) part.position = { seq, previous, epoch };
    // Nobody can be told where it is.
    else this.#sent = seq;
    merger.merge(this.#channel, part, push.urgent);
  }

  #passOn(bytes: Uint8Array) {
    const { ignored, merger } = this.#options;
    const push = ignored.decode(bytes, decodePush);
    if (push && push.items.lengths.length > 0) merger.merge(this.#channel, partOf(push, push.items, 0), push.urgent);
  }
}
