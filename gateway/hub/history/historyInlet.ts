import { fullJitter } from '@pushcluster/protocol/fullJitter.ts';
import { decodePush } from '@pushcluster/protocol/push.ts';
import type { BusMessage } from '@pushcluster/runtime/bus/bus.ts';
import { type Clock, pause } from '@pushcluster/runtime/clock.ts';
import { STORED_HEADERS } from '@pushcluster/runtime/history/historyStore.ts';
import type { Logger } from '@pushcluster/runtime/log.ts';
import type { GatewayMetrics } from '../../metrics/gatewayMetrics.ts';
import type { HubChannel } from '../hubChannel.ts';
import type { IgnoredMessages } from '../ignoredMessages.ts';
import type { Inlet } from '../inlet.ts';
import type { Merger } from '../merger.ts';
import { type Position, partOf } from '../messagePart.ts';
import type { HistoryMonitor, MonitoredRoom } from './historyMonitor.ts';

/** Messages that wait while what is before them is read at most. More are read from the store. */
const MAX_WAITING = 1_000;
/** Bytes of such messages of a room at most, about. */
const MAX_WAITING_BYTES = 524_288;
/** Milliseconds for which reads may fail until the room goes on without what it lacks. */
const GIVE_UP_MS = 15_000;
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

/** A message with its number, and that of the room's message before it. */
type Stored = { seq: number; previous: number; bytes: Uint8Array };

export type HistoryInletOptions = {
  monitor: HistoryMonitor;
  merger: Merger;
  ignored: IgnoredMessages;
  metrics: Pick<GatewayMetrics, 'historyRepairs' | 'recoveredMessages' | 'historyResets'>;
  clock: Clock;
  /** The store cannot be read: called for each attempt. */
  failed: (error: unknown) => void;
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
  #head: number | undefined;
  #epoch: string | undefined;
  /** Nothing that is delivered from now on may have a smaller number and be new. */
  #isSure = false;
  /** When `#head` was the last push, as far as anybody knew, by the clock's `now`. */
  #currentAt = Number.NEGATIVE_INFINITY;
  #cancelStart = () => {};
  #waiting: Stored[] = [];
  #waitingBytes = 0;
  /** Pushes up to this number exist, and were not all taken. */
  #wanted = 0;
  #repairing = false;
  #closed = false;

  constructor(channel: HubChannel, room: string, options: HistoryInletOptions) {
    this.#channel = channel;
    this.room = room;
    this.#options = options;
  }

  get head(): number | undefined {
    return this.#head;
  }

  get epoch(): string | undefined {
    return this.#epoch;
  }

  accept(bytes: Uint8Array, { headers }: BusMessage): void {
    const { monitor, clock } = this.#options;
    const seq = Number(headers?.get(STORED_HEADERS.seq) ?? 0);
    // It is no push of this history: how far a publisher has counted, or of a policy that logic follows before or after us.
    if (!(seq > 0) || headers?.get(STORED_HEADERS.stream) !== monitor.stream) {
      this.#passOn(bytes);
      return;
    }
    const stored = { seq, previous: Number(headers.get(STORED_HEADERS.previous)), bytes };
    if (this.#head === undefined) {
      this.#wait(stored);
      if (this.#waiting.length === 1) this.#cancelStart = clock.after(START_MS, () => this.#start());
      return;
    }
    // The stream was looked at after it was subscribed to.
    if (!this.#isSure && seq <= this.#head) this.#head = stored.previous;
    if (seq <= this.#head) return;
    if (!this.#repairing && this.#follows(stored)) {
      this.#take(stored);
      return;
    }
    this.#wait(stored);
    this.#want(seq, 'gap');
  }

  subscribed(): void {
    this.#options.monitor.remove(this);
    this.#options.monitor.add(this);
  }

  close(): void {
    // What is under repair, or waits, goes no further.
    if (this.#waiting.length > 0 || this.#wanted > (this.#head ?? 0)) this.#options.merger.lose(this.#channel, 1);
    this.#closed = true;
    this.#cancelStart();
    this.#options.monitor.remove(this);
  }

  begin(head: number, epoch: string, isSure: boolean): void {
    if (this.#head !== undefined || this.#closed) return;
    this.#epoch = epoch;
    this.#isSure = isSure;
    const first = this.#first();
    this.#begin(first === undefined ? head : Math.min(head, first.previous));
  }

  adopt(epoch: string): void {
    this.#epoch = epoch;
  }

  exists(seq: number): void {
    if (this.#head !== undefined && seq > this.#head) this.#want(seq, 'compare');
  }

  confirm(at: number): void {
    if (!this.#repairing && this.#head !== undefined && this.#wanted <= this.#head) this.#currentAt = at;
  }

  renew(head: number, epoch: string): void {
    this.#options.log.warn({ room: this.room }, 'the history of the room is another one: made anew, or set back');
    this.#epoch = epoch;
    this.#head = head;
    this.#wanted = 0;
    this.#waiting = [];
    this.#waitingBytes = 0;
    this.#isSure = false;
    this.#interrupted();
  }

  /** The store does not say where the room begins: with what was delivered. */
  #start() {
    const first = this.#first();
    if (this.#head === undefined && !this.#closed && first) this.#begin(first.previous);
  }

  #begin(head: number) {
    this.#cancelStart();
    this.#head = head;
    this.#currentAt = this.#options.clock.now();
    this.#drain();
    const last = this.#waiting.at(-1);
    if (last) this.#want(last.seq, 'gap');
  }

  /** The first of the messages that wait. */
  #first(): Stored | undefined {
    this.#waiting.sort((a, b) => a.seq - b.seq);
    return this.#waiting[0];
  }

  /** Beyond the limit, messages are read from the store. */
  #wait(stored: Stored) {
    if (this.#waiting.length >= MAX_WAITING || this.#waitingBytes > MAX_WAITING_BYTES) return;
    this.#waiting.push(stored);
    this.#waitingBytes += stored.bytes.length;
  }

  /** Whether nothing is missing between what was taken and this message: the one before it was, or came before its time. */
  #follows({ previous }: Stored): boolean {
    return previous > 0 ? previous <= this.#head! : this.#head === 0;
  }

  #want(seq: number, cause: 'gap' | 'compare') {
    this.#wanted = Math.max(this.#wanted, seq);
    if (this.#repairing || this.#closed) return;
    this.#options.metrics.historyRepairs.inc({ cause });
    void this.#repair();
  }

  /** Reads what is missing, until everything up to `#wanted` was taken. */
  async #repair() {
    const { clock, failed } = this.#options;
    this.#repairing = true;
    let since = clock.now();
    for (let attempt = 0; !this.#closed && this.#head! < this.#wanted; attempt++) {
      // The store may be away, or its answer not whole: again.
      const done = await this.#readOn(attempt % FRESH_EVERY === FRESH_EVERY - 1).catch((error: unknown) => {
        failed(error);
        return false;
      });
      if (done) {
        attempt = -1;
        since = clock.now();
      } else if (clock.now() - since > GIVE_UP_MS) this.#giveUp();
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
    const [head, epoch, wanted] = [this.#head!, this.#epoch, this.#wanted];
    const isSame = () => !this.#closed && this.#head === head && this.#epoch === epoch;
    // Beginning with the last push that was taken: if it is still there, limits have removed none after it.
    const { pushes, pending } = await monitor.read(this.room, Math.max(1, head), BATCH, false);
    if (!isSame()) return false;
    let missed = pushes.filter(({ seq }) => seq > head);
    let isWhole = pushes[0]?.seq === head || this.#lacksNone(missed.length + (pending ?? Number.POSITIVE_INFINITY));
    if (missed.length === 0 && isFresh) {
      // That server may be behind. The leader knows, if it has what is wanted.
      if (!(await monitor.hasReached(wanted))) return false;
      const first = await monitor.read(this.room, Math.max(1, head), 1, true);
      const next = await monitor.read(this.room, head + 1, 1, true);
      if (!isSame()) return false;
      missed = next.pushes;
      isWhole = first.pushes[0]?.seq === head;
      if (missed.length === 0) {
        // Limits have removed what was wanted.
        this.#interrupted();
        this.#head = wanted;
        this.#drain();
        return true;
      }
    }
    if (missed.length === 0) return false;
    if (!isWhole) this.#interrupted();
    for (const { seq, bytes } of missed) this.#take({ seq, previous: this.#head!, bytes });
    metrics.recoveredMessages.inc(missed.length);
    this.#drain();
    return true;
  }

  /** The store cannot be read: goes on with what is delivered. */
  #giveUp() {
    const { log } = this.#options;
    log.error({ room: this.room }, 'the history of the room cannot be read: messages are missing');
    this.#interrupted();
    const first = this.#first();
    this.#head = Math.max(this.#head!, first?.previous ?? this.#wanted);
    if (!first) this.#wanted = this.#head;
    this.#drain();
    this.#wanted = this.#waiting.at(-1)?.seq ?? this.#head;
  }

  /**
   * Whether limits cannot have removed any push after `#head`, although that is gone itself: what came after it is younger
   * than the time since it was the last one, limits were not raised since, and the room is not full.
   * @param kept pushes that the history has of the room
   */
  #lacksNone(kept: number): boolean {
    const { monitor, clock } = this.#options;
    const { state } = monitor;
    if (state === undefined || this.#head! < state.floor) return false;
    return kept < state.messages && clock.now() - this.#currentAt + AGE_MARGIN_MS < state.maxAge;
  }

  /** An unknown number of pushes is missing. */
  #interrupted() {
    const { metrics, merger } = this.#options;
    metrics.historyResets.inc();
    merger.lose(this.#channel, 1);
  }

  /** Takes of what waits all that follows. */
  #drain() {
    this.#first();
    let next = 0;
    for (; next < this.#waiting.length; next++) {
      const stored = this.#waiting[next]!;
      if (stored.seq <= this.#head!) continue;
      if (!this.#follows(stored)) break;
      this.#take(stored);
    }
    for (const { bytes } of this.#waiting.splice(0, next)) this.#waitingBytes -= bytes.length;
  }

  #take({ seq, previous, bytes }: Stored) {
    this.#head = seq;
    this.#isSure = true;
    if (!this.#repairing && this.#wanted <= seq) this.#currentAt = this.#options.clock.now();
    this.#passOn(bytes, this.#epoch === undefined ? undefined : { seq, previous, epoch: this.#epoch });
  }

  /** @param position undefined if the message is in no history, or in one that nobody has named yet */
  #passOn(bytes: Uint8Array, position?: Position) {
    const { ignored, merger } = this.#options;
    const push = ignored.decode(bytes, decodePush);
    if (!push || push.items.lengths.length === 0) return;
    const part = partOf(push, push.items, 0);
    if (position) part.position = position;
    merger.merge(this.#channel, part, push.urgent);
  }
}
