import type { Position as Place } from '@pushcluster/protocol/frames.ts';
import { fullJitter } from '@pushcluster/protocol/fullJitter.ts';
import { decodePush } from '@pushcluster/protocol/push.ts';
import type { BusMessage } from '@pushcluster/runtime/bus/bus.ts';
import { type Clock, pause } from '@pushcluster/runtime/clock.ts';
import {
  type Extract,
  STORED_HEADERS,
  type StoredPush,
  type StreamState,
} from '@pushcluster/runtime/history/historyStore.ts';
import type { Logger } from '@pushcluster/runtime/log.ts';
import type { GatewayMetrics } from '../../metrics/gatewayMetrics.ts';
import type { HubChannel } from '../hubChannel.ts';
import type { IgnoredMessages } from '../ignoredMessages.ts';
import type { Inlet } from '../inlet.ts';
import type { Merger } from '../merger.ts';
import { type Position, partOf } from '../messagePart.ts';
import { BEHIND_MS, type HistoryMonitor, type MonitoredRoom, SET_BACK_MS } from './historyMonitor.ts';
import { BATCH, type RoomHistory } from './roomHistory.ts';
import { type RingBudget, RoomRing } from './roomRing.ts';

/** Messages that wait while what is before them is read at most. More are read from the store. */
const MAX_WAITING = 1_000;
/** Bytes of such messages of a room at most, about. */
const MAX_WAITING_BYTES = 524_288;
/** Milliseconds for which reads may fail until the room goes on without what it lacks. */
const GIVE_UP_MS = 15_000;
/** Milliseconds for which it may be in doubt which history pushes are of. The monitor is certain of a stream's before. */
const DOUBT_MS = SET_BACK_MS + 5_000;
/** Every so many attempts to read are made at the leader: another server may be behind. */
const FRESH_EVERY = 4;
/** Milliseconds that messages of a room wait for the store to say where it begins. */
const START_MS = 2_000;
/** Milliseconds by which the store's expiry and this process may differ. */
const AGE_MARGIN_MS = 5_000;
/** Milliseconds between attempts to read: the first limit, and the largest. */
const [RETRY_FIRST_MS, RETRY_LONGEST_MS] = [20, 500];

/** A message as it was delivered. */
type Delivered = {
  seq: number;
  /** Number of the room's push before it; 0 if there is none any more. */
  previous: number;
  bytes: Uint8Array;
};

export type HistoryInletOptions = {
  monitor: HistoryMonitor;
  budget: RingBudget;
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
export class HistoryInlet implements Inlet, MonitoredRoom, RoomHistory {
  readonly room: string;
  readonly #channel: HubChannel;
  readonly #options: HistoryInletOptions;
  readonly ring: RoomRing;
  #head: number | undefined;
  #epoch: string | undefined;
  /** Something was taken: what is delivered from now on is new only with a larger number. */
  #hasTaken = false;
  /** Clients were told a position: what has a number up to `#head` is nothing new to them. */
  #isPlaced = false;
  /** Number of the last message that went on, or where the room began: what the next frame follows on. */
  #passed = 0;
  /** Positions that were not sent yet when nobody had named the history. */
  #unnamed: Position[] = [];
  /** The largest number of a member that is ahead. */
  #ahead = 0;
  /** Number of the last message in a frame that was sent to the shards. */
  #sent = 0;
  /** Reads for clients that are under way, by where they begin and their limit: those who come back together share one. */
  readonly #reads = new Map<string, Promise<Extract>>();
  /** When `#head` was the last push, as far as anybody knew, by the clock's `now`. */
  #currentAt = Number.NEGATIVE_INFINITY;
  #cancelStart = () => {};
  #waiting: Delivered[] = [];
  #waitingBytes = 0;
  /**
   * What came since a number that was taken before came with another push, until it is known which history it is of;
   * undefined if there is no such doubt.
   */
  #doubtful: Delivered[] | undefined;
  #doubtfulBytes = 0;
  #cancelDoubt = () => {};
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

  get epoch(): string | undefined {
    return this.#epoch;
  }

  get stream(): StreamState | undefined {
    return this.#options.monitor.state;
  }

  get formerMs(): number {
    return this.#options.monitor.formerMs;
  }

  get mayBeSetBack(): boolean {
    return this.#options.monitor.setBackAt !== undefined;
  }

  place(): Place | undefined {
    if (this.#epoch === undefined || this.#head === undefined) return undefined;
    this.#isPlaced = true;
    return { epoch: this.#epoch, seq: this.#sent };
  }

  get isPending(): boolean {
    return this.#sent < this.#passed;
  }

  isAhead(seq: number): void {
    this.#ahead = Math.max(this.#ahead, seq);
  }

  framesSent({ seq, epoch }: Pick<Position, 'seq' | 'epoch'>): void {
    const isOurs = epoch === undefined || epoch === this.#epoch;
    if (isOurs && seq <= (this.#head ?? 0)) this.#sent = Math.max(this.#sent, seq);
    if (this.#unnamed.length > 0) this.#unnamed = this.#unnamed.filter((position) => position.seq > this.#sent);
  }

  read(from: number, limit = BATCH): Promise<Extract> {
    const key = `${from} ${limit}`;
    const underWay = this.#reads.get(key);
    if (underWay) return underWay;
    const read = this.#options.monitor.read(this.room, from, limit, false).finally(() => this.#reads.delete(key));
    this.#reads.set(key, read);
    return read;
  }

  keep(pushes: readonly StoredPush[], after: number): void {
    const { monitor, clock } = this.#options;
    // By the store's clock: as old as the store takes them for. Otherwise the newest counts as new.
    const storeNow = monitor.storeNow ?? pushes.at(-1)?.at ?? 0;
    const older = pushes.map(({ seq, at, bytes }) => ({ seq, at: clock.now() - (storeNow - at), bytes }));
    this.ring.extend(older, after, this.#limit);
  }

  next(after: number, upTo: number): Promise<number> {
    return this.#options.monitor.next(this.room, after, upTo);
  }

  looked(): Promise<void> {
    return this.#options.monitor.looked();
  }

  hasReached(seq: number): Promise<boolean> {
    return this.#options.monitor.hasReached(seq);
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
    if (this.#epoch !== undefined) monitor.came(seq);
    if (this.#head === undefined) {
      this.#wait(stored);
      if (this.#waiting.length === 1) this.#cancelStart = clock.after(START_MS, () => this.#start());
      return;
    }
    // The stream was looked at after the room was subscribed to: it may have come to `#head` before this was delivered.
    if (!this.#hasTaken && !this.#isPlaced && seq <= this.#head) this.#settle(before(stored));
    if (this.#doubtful) this.#hold(this.#doubtful, stored);
    // Where the stream lacks what it had, or may be another one, it may be giving the same numbers again.
    else if (monitor.isUncertain && !this.#isRepeat(stored)) this.#doubt(stored);
    else if (seq > this.#head) this.#receive(stored);
    else if (!this.#isRepeat(stored)) this.#doubt(stored);
  }

  subscribed(): void {
    this.#options.monitor.remove(this);
    this.#options.monitor.add(this);
  }

  close(): void {
    // What is under repair, waits or is doubtful goes no further.
    const isMissing = this.#waiting.length > 0 || this.#wanted > (this.#head ?? 0) || this.#doubtful !== undefined;
    if (isMissing) this.#options.merger.lose(this.#channel, 1);
    this.#closed = true;
    if (this.#channel.history === this) this.#channel.history = undefined;
    this.ring.clear(0);
    this.#cancelStart();
    this.#cancelDoubt();
    this.#options.monitor.remove(this);
  }

  begin(head: number, epoch: string, last: number): void {
    if (this.#head !== undefined || this.#closed) return;
    this.#epoch = epoch;
    const first = this.#first();
    if (first === undefined || before(first) >= head) this.#begin(head, last);
    else this.#begin(before(first));
  }

  adopt(epoch: string): void {
    this.#epoch = epoch;
    for (const position of this.#unnamed.splice(0)) position.epoch = epoch;
  }

  exists(seq: number): void {
    if (this.#head !== undefined && seq > this.#head) this.#want(seq, 'compare');
  }

  renew(head: number, epoch: string): void {
    this.#options.log.warn({ room: this.room }, 'the history of the room is another one: made anew, or set back');
    this.#epoch = epoch;
    this.#wanted = 0;
    this.#waiting = [];
    this.#waitingBytes = 0;
    this.#hasTaken = false;
    // What was doubtful is of this history: members get it all.
    const doubtful = (this.#endDoubt() ?? []).filter(({ seq }) => seq <= head).sort((a, b) => a.seq - b.seq);
    const [first] = doubtful;
    const from = first ? before(first) : head;
    // What was sent counted in the other history.
    this.#sent = from;
    this.#unnamed = [];
    this.#ahead = 0;
    this.#interrupted(from);
    if (first) this.#want(doubtful.at(-1)!.seq, 'gap');
  }

  confirm(): void {
    for (const stored of this.#endDoubt() ?? []) if (stored.seq > this.#head!) this.#receive(stored);
  }

  /** What has a larger number than what was taken. */
  #receive(stored: Delivered) {
    if (!this.#repairing && this.#follows(stored)) {
      this.#take(stored);
      return;
    }
    this.#wait(stored);
    this.#want(stored.seq, 'gap');
  }

  /** Whether the same push came before with this number, as far as the ring reaches. */
  #isRepeat({ seq, bytes }: Delivered): boolean {
    const [known] = this.ring.between(seq - 1, seq);
    return known !== undefined && Buffer.compare(known.bytes, bytes) === 0;
  }

  /** It came late, or the numbers count in another history. */
  #doubt(stored: Delivered) {
    this.#doubtful = [];
    this.#doubtfulBytes = 0;
    this.#hold(this.#doubtful, stored);
    this.#cancelDoubt = this.#options.clock.after(DOUBT_MS, () => this.confirm());
    this.#options.monitor.doubt(this);
  }

  /** What is beyond the limit is read from the store. */
  #hold(doubtful: Delivered[], stored: Delivered) {
    if (doubtful.length >= MAX_WAITING || this.#doubtfulBytes > MAX_WAITING_BYTES) return;
    doubtful.push(stored);
    this.#doubtfulBytes += stored.bytes.length;
  }

  /** @returns what was doubtful */
  #endDoubt(): Delivered[] | undefined {
    const doubtful = this.#doubtful;
    this.#doubtful = undefined;
    this.#cancelDoubt();
    return doubtful;
  }

  /** The store does not say where the room begins: with what was delivered. */
  #start() {
    const first = this.#first();
    if (this.#head === undefined && !this.#closed && first) this.#begin(before(first));
  }

  #begin(head: number, last = head) {
    this.#cancelStart();
    this.#settle(head, last);
    this.#currentAt = this.#options.clock.now();
    this.#drain();
    const newest = this.#waiting.at(-1);
    if (newest) this.#want(newest.seq, 'gap');
  }

  /** Pushes that the history keeps of the room. */
  get #limit(): number {
    return this.#channel.rules.history?.messages ?? 1;
  }

  /** It has everything up to `head`. @param last number of the last push up to there, if that is known */
  #settle(head: number, last = head) {
    this.#head = head;
    this.#passed = last;
    this.#sent = last;
    this.ring.clear(last);
  }

  /** The first of the messages that wait. */
  #first(): Delivered | undefined {
    this.#waiting.sort((a, b) => a.seq - b.seq);
    return this.#waiting[0];
  }

  /** Beyond the limit, messages are read from the store. */
  #wait(stored: Delivered) {
    if (this.#waiting.length >= MAX_WAITING || this.#waitingBytes > MAX_WAITING_BYTES) return;
    this.#waiting.push(stored);
    this.#waitingBytes += stored.bytes.length;
  }

  /** Whether nothing is missing between what was taken and this message: the one before it was, or came before its time. */
  #follows({ previous }: Delivered): boolean {
    return previous > 0 ? previous <= this.#head! : this.#head === 0;
  }

  #want(seq: number, cause: 'gap' | 'compare') {
    this.#wanted = Math.max(this.#wanted, seq);
    if (this.#repairing || this.#closed) return;
    this.#currentAt = Math.max(this.#currentAt, this.#options.monitor.confirmedAt);
    this.#options.metrics.historyRepairs.inc({ cause });
    void this.#repair();
  }

  /** Reads what is missing, until everything up to `#wanted` was taken. */
  async #repair() {
    const { clock, failed } = this.#options;
    this.#repairing = true;
    let since = clock.now();
    /** Since when servers have answered that there is nothing. */
    let behindSince: number | undefined;
    const isMissing = () => !this.#closed && this.#head! < this.#wanted;
    for (let attempt = 0; isMissing(); attempt++) {
      // The store may be away, or its answer not whole: again.
      const isFresh = attempt % FRESH_EVERY === FRESH_EVERY - 1;
      const done = await this.#readOn(isFresh, behindSince).catch((error: unknown) => failed(error));
      behindSince = done === false ? (behindSince ?? clock.now()) : undefined;
      if (done) {
        attempt = -1;
        since = clock.now();
      } else if (isMissing() && clock.now() - since > GIVE_UP_MS && !this.#isSetBack()) this.#giveUp();
      else await pause(clock, fullJitter(attempt, RETRY_FIRST_MS, RETRY_LONGEST_MS));
    }
    this.#repairing = false;
    if (this.#closed) return;
    this.#drain();
    if (this.#head! < this.#wanted) this.#want(this.#wanted, 'gap');
  }

  /**
   * Reads the next pushes that are missing and takes them. False if there were none.
   * @param behindSince since when that was so, by the clock's `now`
   */
  async #readOn(isFresh: boolean, behindSince = this.#options.clock.now()): Promise<boolean> {
    const { monitor, metrics, clock } = this.#options;
    const [head, epoch, wanted] = [this.#head!, this.#epoch, this.#wanted];
    // While there is a doubt, what is read may be of another history too.
    const isDoubtful = () => this.#doubtful !== undefined || monitor.isUncertain;
    const isSame = () => !this.#closed && !isDoubtful() && this.#head === head && this.#epoch === epoch;
    // Beginning with the last push that was taken: if it is still there, limits have removed none after it.
    const { pushes, pending } = await monitor.read(this.room, Math.max(1, head), BATCH, false);
    if (!isSame()) return false;
    let missed = pushes.filter(({ seq }) => seq > head);
    let isWhole = pushes[0]?.seq === head || this.#lacksNone(missed.length + (pending ?? Number.POSITIVE_INFINITY));
    if (missed.length === 0 && isFresh) {
      // That server may be behind. The leader knows, if it has what is wanted.
      const next = await monitor.read(this.room, head + 1, 1, true);
      // After that: what is there now was not removed before.
      const first = await monitor.read(this.room, Math.max(1, head), 1, true);
      const { last } = await monitor.fresh();
      // A former leader may have answered.
      if (!isSame() || last < wanted) return false;
      missed = next.pushes;
      // Pushes of all rooms: more than those of this one, which another server counts once it has caught up.
      isWhole = first.pushes[0]?.seq === head || this.#lacksNone(last - head);
      if (!isWhole && missed.length > 0 && clock.now() - behindSince < BEHIND_MS) return false;
      if (missed.length === 0) {
        // Limits have removed what was wanted.
        this.#interrupted(wanted);
        this.#drain();
        return true;
      }
    }
    const [next] = missed;
    if (next === undefined) return false;
    if (!isWhole) this.#interrupted(next.seq - 1);
    for (const push of missed) this.#take(push);
    metrics.recoveredMessages.inc(missed.length);
    this.#drain();
    return true;
  }

  /** Whether the stream may lack what is wanted because it was set back. The monitor says so once it is certain. */
  #isSetBack(): boolean {
    const { monitor, clock } = this.#options;
    return monitor.setBackAt !== undefined && clock.now() - monitor.setBackAt < DOUBT_MS;
  }

  /** The store cannot be read: goes on with what is delivered. */
  #giveUp() {
    const { log } = this.#options;
    log.error({ room: this.room }, 'the history of the room cannot be read: messages are missing');
    const first = this.#first();
    this.#interrupted(Math.max(this.#head!, first === undefined ? this.#wanted : before(first)));
    if (!first) this.#wanted = this.#head!;
    this.#drain();
    this.#wanted = this.#waiting.at(-1)?.seq ?? this.#head!;
  }

  /**
   * Whether limits cannot have removed any push after `#head`, although that is gone itself: what came after it is younger
   * than the time since it was the last one, limits were not raised since, and the room is not full.
   * @param kept pushes that the history has of the room, at most
   */
  #lacksNone(kept: number): boolean {
    const { monitor, clock } = this.#options;
    const { state } = monitor;
    if (state === undefined || this.#head! < state.floor) return false;
    return kept < state.messages && clock.now() - this.#currentAt + AGE_MARGIN_MS < state.maxAge;
  }

  /** An unknown number of pushes is missing: it goes on after `seq`. */
  #interrupted(seq: number) {
    const { metrics, merger } = this.#options;
    metrics.historyResets.inc();
    this.#head = seq;
    this.#passed = seq;
    this.ring.clear(seq);
    if (this.#epoch === undefined) merger.lose(this.#channel, 1);
    else merger.reset(this.#channel, { seq, epoch: this.#epoch });
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

  #take({ seq, bytes }: Pick<Delivered, 'seq' | 'bytes'>) {
    const { clock, merger } = this.#options;
    if (this.#passed <= this.#ahead && seq > this.#ahead && this.isPending) merger.flush(this.#channel);
    this.#head = seq;
    this.#hasTaken = true;
    if (this.#epoch !== undefined) this.#options.monitor.took({ seq, epoch: this.#epoch, bytes });
    if (!this.#repairing && this.#wanted <= seq) this.#currentAt = clock.now();
    const position = { seq, previous: this.#passed, epoch: this.#epoch };
    if (!this.#passOn(bytes, position)) return;
    if (this.#epoch === undefined) this.#unnamed.push(position);
    this.#passed = seq;
    this.ring.add({ seq, at: clock.now(), bytes }, this.#limit);
  }

  /** @param position undefined if the message is in no history. @returns whether it has items */
  #passOn(bytes: Uint8Array, position?: Position): boolean {
    const { ignored, merger } = this.#options;
    const push = ignored.decode(bytes, decodePush);
    if (!push || push.items.lengths.length === 0) return false;
    const part = partOf(push, push.items, 0);
    if (position) part.position = position;
    merger.merge(this.#channel, part, push.urgent);
    return true;
  }
}

/** The least number up to which a room lacks nothing, for which this message is the next. */
function before({ seq, previous }: Delivered): number {
  return previous || seq - 1;
}
