import { randomBytes } from 'node:crypto';
import type { Subjects } from '@pushcluster/protocol/subjects.ts';
import { type Bus, BusUnavailable, BusUnconfirmed } from '../bus/bus.ts';
import { type Clock, systemClock } from '../clock.ts';
import {
  DUPLICATE_WINDOW_MS,
  type Extract,
  type Heads,
  HistoryMissing,
  type HistoryRules,
  type MeasuredHistoryStore,
  STORED_HEADERS,
  type StoredAt,
  type StoredPush,
  type StreamContents,
  type StreamState,
  type StreamUsage,
  untouchedFrom,
} from './historyStore.ts';

/** Bytes of all pushes at most. Beyond it nothing more is stored until limits have made room. */
const MAX_BYTES = 256 * 1_048_576;
/** Milliseconds between two searches of all rooms for pushes that have expired: pushes are tried again while it is full. */
const SEARCH_EVERY_MS = 1_000;

/** `since`: when it was stored by the clock that is never set, milliseconds. */
type Kept = StoredPush & { since: number };

type Stream = {
  rules: HistoryRules;
  epoch: string;
  last: number;
  floor: number;
  /** Oldest last push first. */
  rooms: Map<string, Kept[]>;
  /** Sequence numbers of pushes of the last two minutes, by id, oldest first. */
  ids: Map<string, { seq: number; at: number }>;
};

/** Histories in the memory of this process, for the in-process bus. They end with the process. */
export class LocalHistory implements MeasuredHistoryStore {
  readonly formerMs = 0;
  readonly #bus: Bus;
  readonly #subjects: Subjects;
  readonly #clock: Clock;
  readonly #streams = new Map<string, Stream>();
  #bytes = 0;
  #searchedAt = Number.NEGATIVE_INFINITY;

  constructor(bus: Bus, subjects: Subjects, clock: Clock = systemClock) {
    this.#bus = bus;
    this.#subjects = subjects;
    this.#clock = clock;
  }

  async ensure(rules: HistoryRules): Promise<void> {
    const stream = this.#streams.get(rules.match);
    if (stream === undefined) {
      const epoch = randomBytes(6).toString('base64url');
      this.#streams.set(rules.match, { rules, epoch, last: 0, floor: 0, rooms: new Map(), ids: new Map() });
      return;
    }
    if (stream.rules.earlier.some((match) => !rules.earlier.includes(match)))
      stream.epoch = randomBytes(6).toString('base64url');
    if (rules.messages > stream.rules.messages || rules.maxAge > stream.rules.maxAge)
      stream.floor = untouchedFrom(this.#contentsOf(stream), stream.rules) ?? stream.last;
    stream.rules = rules;
    for (const room of stream.rooms.keys()) this.#retained(stream, room);
  }

  /** Nobody could read it: it takes its memory with it. */
  async retire(match: string): Promise<void> {
    for (const { bytes } of this.#all(this.#stream(match))) this.#bytes -= bytes.length;
    this.#streams.delete(match);
  }

  async append(match: string, room: string, bytes: Uint8Array, id: string): Promise<StoredAt> {
    const stream = this.#stream(match);
    const now = this.#clock.now();
    this.#expire(stream);
    const before = stream.ids.get(id);
    if (before) return { seq: before.seq, duplicate: true };
    if (!this.#hasRoom(bytes.length)) throw new BusUnavailable('the history of this process is full');
    const pushes = this.#retained(stream, room);
    const previous = pushes.at(-1)?.seq ?? 0;
    const seq = stream.last + 1;
    // First the bus: it throws if it is closed, or the message is too large.
    this.#bus.publish(this.#subjects.room(room), bytes, {
      [STORED_HEADERS.stream]: this.streamOf(match),
      [STORED_HEADERS.seq]: String(seq),
      [STORED_HEADERS.previous]: String(previous),
    });
    stream.last = seq;
    stream.ids.set(id, { seq, at: now });
    pushes.push({ seq, at: this.#clock.wall(), since: now, bytes });
    this.#bytes += bytes.length;
    // As the last one.
    stream.rooms.delete(room);
    stream.rooms.set(room, pushes);
    this.#retained(stream, room);
    return { seq, duplicate: false };
  }

  async state(match: string, earlier: readonly string[] | undefined = undefined): Promise<StreamState> {
    const { epoch, last, floor, rules } = this.#stream(match);
    if (earlier && rules.earlier.some((each) => !earlier.includes(each)))
      throw new BusUnconfirmed(`the history of rooms "${match}" is yet to become another one`);
    return { epoch, last, floor, messages: rules.messages, maxAge: rules.maxAge, at: this.#clock.wall() };
  }

  async usage(match: string): Promise<StreamUsage> {
    const all = this.#all(this.#stream(match));
    const oldestAt = all.reduce((oldest, { at }) => Math.min(oldest, at), Number.POSITIVE_INFINITY);
    return {
      pushes: all.length,
      bytes: all.reduce((sum, { bytes }) => sum + bytes.length, 0),
      oldestAt: all.length === 0 ? undefined : oldestAt,
    };
  }

  async read(match: string, room: string, from: number, limit: number): Promise<Extract> {
    const found = this.#retained(this.#stream(match), room).filter(({ seq }) => seq >= from);
    const pushes = found.slice(0, limit).map(({ seq, at, bytes }) => ({ seq, at, bytes }));
    return { pushes, pending: found.length - pushes.length };
  }

  async at(match: string, seq: number): Promise<Uint8Array | undefined> {
    return this.#all(this.#stream(match)).find((push) => push.seq === seq)?.bytes;
  }

  async heads(match: string, rooms: readonly string[], after: number): Promise<Heads> {
    const stream = this.#stream(match);
    const seqs = new Map<string, number>();
    for (const room of rooms) {
      const last = this.#retained(stream, room).at(-1)?.seq ?? 0;
      if (last > after) seqs.set(room, last);
    }
    return { seqs, upTo: stream.last };
  }

  async renew(match: string, epoch: string): Promise<void> {
    const stream = this.#stream(match);
    if (stream.epoch === epoch) stream.epoch = randomBytes(6).toString('base64url');
  }

  streamOf(match: string): string {
    return encodeURIComponent(match);
  }

  close(): void {
    this.#streams.clear();
  }

  #stream(match: string): Stream {
    const stream = this.#streams.get(match);
    if (!stream) throw new HistoryMissing(`there is no history of rooms "${match}"`);
    return stream;
  }

  #all(stream: Stream): Kept[] {
    return [...stream.rooms.keys()].flatMap((room) => this.#retained(stream, room));
  }

  #contentsOf(stream: Stream): StreamContents {
    const all = this.#all(stream);
    const { last } = stream;
    const first = all.reduce((least, { seq }) => Math.min(least, seq), last + 1);
    const since = all.reduce((oldest, push) => Math.min(oldest, push.since), Number.POSITIVE_INFINITY);
    return { first, last, pushes: all.length, age: this.#clock.now() - since };
  }

  /** The pushes of a room that the limits leave. */
  #retained({ rules, rooms }: Stream, room: string): Kept[] {
    const pushes = rooms.get(room);
    if (!pushes) return [];
    const oldest = this.#clock.now() - rules.maxAge;
    const young = pushes.findIndex(({ since }) => since > oldest);
    const expired = young < 0 ? pushes.length : young;
    for (const { bytes } of pushes.splice(0, Math.max(expired, pushes.length - rules.messages)))
      this.#bytes -= bytes.length;
    if (pushes.length === 0) rooms.delete(room);
    return pushes;
  }

  /** Removes rooms whose last push has expired, and ids that are too old. */
  #expire(stream: Stream) {
    const now = this.#clock.now();
    for (const [id, { at }] of stream.ids) {
      if (now - at < DUPLICATE_WINDOW_MS) break;
      stream.ids.delete(id);
    }
    for (const room of stream.rooms.keys()) if (this.#retained(stream, room).length > 0) return;
  }

  /** Whether `bytes` more can be stored. Where they can't, what has expired makes room, in any stream. */
  #hasRoom(bytes: number): boolean {
    const now = this.#clock.now();
    if (this.#bytes + bytes > MAX_BYTES && now - this.#searchedAt >= SEARCH_EVERY_MS) {
      this.#searchedAt = now;
      for (const stream of this.#streams.values()) this.#search(stream);
    }
    return this.#bytes + bytes <= MAX_BYTES;
  }

  /** Removes all that has expired. */
  #search(stream: Stream) {
    this.#expire(stream);
    for (const room of stream.rooms.keys()) this.#retained(stream, room);
  }
}
