/**
 * Bus messages that carry pushes. They are binary, since a gateway reads every one of them: items stay the publisher's bytes.
 *
 *     u8 version · u16 header length · header · body         (little endian)
 *     header: u8 flags · str publisher · f64 counter · f64 at · str id · (from version 2) f64 begun
 *             · (from version 3) u32 beat · u32 counter − mark · u32 first
 *     body of all and room:  items
 *     body of user:          u32 entries, each: u16 users · str user ... · str id · u8 flags · items
 *     items:                 u32 count · u32 length of each · the items' bytes joined by `,`
 *     str:                   u8 length · UTF-8
 *
 * A reader takes the header fields that it knows and skips the rest by the header's length, so old and new pods understand
 * each other during a rollout. The meaning of a body never changes for a subject.
 *
 * A message without items announces how far its publisher has counted. On the subject of heartbeats, `counter` is the
 * number of the heartbeat: it increases by one each time.
 */
export const PUSH_VERSION = 3;

const URGENT = 1;

/** JSON values as the publisher wrote them. */
export type Items = {
  /** Byte length of each item. */
  lengths: Uint32Array;
  /** The items joined by `,`. */
  bytes: Uint8Array;
};

/** Who published, when, and which number: by this every reader downstream finds lost and repeated messages. */
export type PushHeader = {
  /**
   * Name of the publishing process, 1 to 32 ASCII characters, new at each start. If it has counted a subject anew, a dot and
   * a number follow (see processOf).
   */
  publisher: string;
  /** The publisher's counter of the first item, for this subject, from 1; each item adds one. */
  counter: number;
  /** When logic accepted it, milliseconds since the epoch. */
  at: number;
  /**
   * When this publisher first published on this subject, milliseconds since the epoch. 0: unknown (version 1). Only the
   * time from then to `at` says something to others, whose clocks may differ.
   */
  begun: number;
  /** Number of the publisher's last heartbeat before the items from `mark` on, from 1. 0: unknown (version 2). */
  beat: number;
  /** Counter of the first item published after the heartbeat `beat`; `counter` if that is unknown. */
  mark: number;
  /** Number of the publisher's last heartbeat before its first item on this subject, from 1. 0: unknown (version 2). */
  first: number;
  /** Whether it flushes the room's merge window. */
  urgent: boolean;
  /** Idempotency key of this message, at most 255 bytes; '' if it has none. */
  id: string;
};

export type Push = PushHeader & { items: Items };

/** A push to users, inside a UserPush. */
export type UserEntry = { users: string[]; id: string; urgent: boolean; items: Items };
export type UserPush = PushHeader & { entries: UserEntry[] };

/** The process behind the publisher name `publisher`: its heartbeats carry this name. */
export function processOf(publisher: string): string {
  const dot = publisher.indexOf('.');
  return dot < 0 ? publisher : publisher.slice(0, dot);
}

/** Bytes that `items` take in a message. */
export function itemsSize(items: Items): number {
  return 4 + items.lengths.byteLength + items.bytes.length;
}

/** Joins JSON texts to Items. */
export function joinItems(parts: readonly Uint8Array[]): Items {
  // Not Uint32Array.from: its mapping costs more than all the rest of a small push.
  const lengths = new Uint32Array(parts.length);
  let size = Math.max(0, parts.length - 1);
  for (let i = 0; i < parts.length; i++) {
    lengths[i] = parts[i]!.length;
    size += parts[i]!.length;
  }
  const bytes = new Uint8Array(size);
  let at = 0;
  for (let i = 0; i < parts.length; i++) {
    if (i > 0) bytes[at++] = 0x2c;
    bytes.set(parts[i]!, at);
    at += parts[i]!.length;
  }
  return { lengths, bytes };
}

/** Items `from` (included) to `to` (excluded), sharing the bytes. */
export function sliceItems(items: Items, from: number, to: number): Items {
  let start = from;
  for (let i = 0; i < from; i++) start += items.lengths[i]!;
  let end = start + Math.max(0, to - from - 1);
  for (let i = from; i < to; i++) end += items.lengths[i]!;
  return { lengths: items.lengths.subarray(from, to), bytes: items.bytes.subarray(start, end) };
}

export function encodePush(push: Push): Uint8Array {
  const writer = new Writer(headerSize(push) + itemsSize(push.items));
  writer.header(push);
  writer.items(push.items);
  return writer.bytes;
}

export function encodeUserPush(push: UserPush): Uint8Array {
  let size = headerSize(push) + 4;
  for (const entry of push.entries) size += userEntrySize(entry);
  const writer = new Writer(size);
  writer.header(push);
  writer.u32(push.entries.length);
  for (const entry of push.entries) {
    writer.u16(entry.users.length);
    for (const user of entry.users) writer.str(user);
    writer.str(entry.id);
    writer.u8(entry.urgent ? URGENT : 0);
    writer.items(entry.items);
  }
  return writer.bytes;
}

/** Bytes that `entry` takes in a message. */
export function userEntrySize(entry: UserEntry): number {
  let size = 2 + strSize(entry.id) + 1 + itemsSize(entry.items);
  for (const user of entry.users) size += strSize(user);
  return size;
}

/** Reads a message of the `all` subject or a room's. Throws RangeError or TypeError if it is invalid. The items share the memory of `bytes`. */
export function decodePush(bytes: Uint8Array): Push {
  const reader = new Reader(bytes);
  return { ...reader.header(), items: reader.items() };
}

/** Reads a message of the user subject. Throws RangeError or TypeError if it is invalid. The items share the memory of `bytes`. */
export function decodeUserPush(bytes: Uint8Array): UserPush {
  const reader = new Reader(bytes);
  const header = reader.header();
  const entries: UserEntry[] = [];
  for (let left = reader.u32(); left > 0; left--) {
    const users: string[] = [];
    for (let count = reader.u16(); count > 0; count--) users.push(reader.str());
    const id = reader.str();
    const urgent = (reader.u8() & URGENT) !== 0;
    entries.push({ users, id, urgent, items: reader.items() });
  }
  return { ...header, entries };
}

function strSize(text: string): number {
  return 1 + Buffer.byteLength(text);
}

function headerSize(header: PushHeader): number {
  return 3 + 1 + strSize(header.publisher) + 8 + 8 + strSize(header.id) + 8 + 12;
}

class Writer {
  readonly bytes: Buffer;
  #at = 0;

  constructor(size: number) {
    this.bytes = Buffer.allocUnsafe(size);
  }

  u8(value: number) {
    this.#at = this.bytes.writeUInt8(value, this.#at);
  }

  u16(value: number) {
    this.#at = this.bytes.writeUInt16LE(value, this.#at);
  }

  u32(value: number) {
    this.#at = this.bytes.writeUInt32LE(value, this.#at);
  }

  f64(value: number) {
    this.#at = this.bytes.writeDoubleLE(value, this.#at);
  }

  str(text: string) {
    const length = this.bytes.write(text, this.#at + 1);
    this.u8(length);
    this.#at += length;
  }

  header(header: PushHeader) {
    this.u8(PUSH_VERSION);
    this.u16(headerSize(header) - 3);
    this.u8(header.urgent ? URGENT : 0);
    this.str(header.publisher);
    this.f64(header.counter);
    this.f64(header.at);
    this.str(header.id);
    this.f64(header.begun);
    this.u32(header.beat);
    this.u32(header.counter - header.mark);
    this.u32(header.first);
  }

  items(items: Items) {
    this.u32(items.lengths.length);
    for (const length of items.lengths) this.u32(length);
    this.bytes.set(items.bytes, this.#at);
    this.#at += items.bytes.length;
  }
}

class Reader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  u8(): number {
    return this.#bytes.readUInt8(this.#skip(1));
  }

  u16(): number {
    return this.#bytes.readUInt16LE(this.#skip(2));
  }

  u32(): number {
    return this.#bytes.readUInt32LE(this.#skip(4));
  }

  f64(): number {
    return this.#bytes.readDoubleLE(this.#skip(8));
  }

  str(): string {
    const length = this.u8();
    const start = this.#skip(length);
    return this.#bytes.toString('utf8', start, start + length);
  }

  header(): PushHeader {
    const version = this.u8();
    if (version === 0) throw new TypeError('bus message of version 0');
    const end = this.u16() + this.#at;
    const urgent = (this.u8() & URGENT) !== 0;
    const publisher = this.str();
    const counter = this.f64();
    const at = this.f64();
    const id = this.str();
    const begun = version >= 2 ? this.f64() : 0;
    const beat = version >= 3 ? this.u32() : 0;
    const mark = counter - (version >= 3 ? this.u32() : 0);
    const first = version >= 3 ? this.u32() : 0;
    if (this.#at > end) throw new RangeError('bus message header is shorter than its fields');
    if (!Number.isSafeInteger(counter) || counter < 1) throw new TypeError('bus message counter is not a count');
    if (mark < 1) throw new TypeError('bus message mark is not a count');
    if (!Number.isFinite(at) || !Number.isFinite(begun)) throw new TypeError('bus message time is not a time');
    this.#at = end;
    return { publisher, counter, at, begun, beat, mark, first, urgent, id };
  }

  items(): Items {
    const count = this.u32();
    const lengthsAt = this.#skip(count * 4);
    const lengths = new Uint32Array(count);
    let size = Math.max(0, count - 1);
    for (let i = 0; i < count; i++) {
      lengths[i] = this.#bytes.readUInt32LE(lengthsAt + i * 4);
      size += lengths[i]!;
    }
    const start = this.#skip(size);
    return { lengths, bytes: this.#bytes.subarray(start, start + size) };
  }

  #skip(length: number): number {
    const start = this.#at;
    this.#at += length;
    if (this.#at > this.#bytes.length) throw new RangeError('bus message is cut short');
    return start;
  }
}
