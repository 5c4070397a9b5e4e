import type { Socket } from 'node:net';
import type { Answer, Question } from '@pushcluster/protocol/control.ts';
import type { LagReason } from '@pushcluster/protocol/frames.ts';
import type { Settings } from '@pushcluster/protocol/settings.ts';
import { formIndex, WIRE_FORMS } from '@pushcluster/protocol/wireForms.ts';
import type { Resource } from '../admission/pressure.ts';
import type { Frame } from '../hub/frame.ts';
import type { MoveTime } from '../moves/drainPace.ts';
import type { ChannelKey } from './channelKey.ts';
import type { MoveReason, ShardCounts } from './counts.ts';

/**
 * What hub and shard say to each other, over one socket pair: `u32 length · u8 kind · payload`. Frames are binary, all
 * else is JSON. Both ends are of the same build and trust each other; order is kept, and rules rely on it.
 */

export type HubMessage =
  /** The first message, and again at each live change. */
  | { type: 'settings'; shard: number; settings: Settings; shards: number }
  /** Answers `forms`: the hub now encodes these for the channel, and its subscription is known to the bus. */
  | { type: 'opened'; key: ChannelKey; mask: number; turn: number }
  /** The subscription of the room is no longer in force, since the bus refuses it: what is pushed now does not come. */
  | { type: 'shut'; key: ChannelKey }
  /** The bus has gone away, or has come back with all subscriptions but those that are shut. */
  | { type: 'bus'; connected: boolean }
  /** The bus was there after `verify` of this turn had come. */
  | { type: 'verified'; turn: number }
  /** Items that will not come, in order with the frames. It is a frame to everyone as well: `missedSize` bytes on their way. */
  | { type: 'missed'; key: ChannelKey; items: number; reason: LagReason }
  | { type: 'admitted'; ask: number; refused: boolean }
  /** Connections this shard may hold; its counts say which turn it goes by. */
  | { type: 'allowance'; connections: number; turn: number }
  /** What the hub found short, when that changes: the loop's refuses everyone, memory is why an allowance is small. */
  | { type: 'short'; resource: Resource | undefined }
  | { type: 'disconnectUser'; user: string; reason: string }
  | { type: 'disconnectRoom'; room: string; reason: string }
  /** A newer session of the user was opened elsewhere: close those here up to number `upTo`, and those without a number. */
  | { type: 'replaced'; user: string; upTo: number }
  | { type: 'ask'; question: Question }
  | { type: 'stopListening' }
  /** Counts every 100 ms, or as seldom as ever. */
  | { type: 'reportOften'; on: boolean }
  /** Ask or make `count` connections to leave. */
  | { type: 'move'; count: number; time: MoveTime; reason: Exclude<MoveReason, 'rebalance'> }
  /** From now on only who is there now may be moved by `moveOldest`; off: anyone. */
  | { type: 'mark'; on: boolean }
  /** Ask `count` connections to go elsewhere, those that came first; who can't stays. `others`: also by close code. */
  | { type: 'moveOldest'; count: number; time: MoveTime; others: boolean }
  | { type: 'exit' };

export type ShardMessage =
  | { type: 'listening' }
  | { type: 'failed'; message: string }
  /** Which wire forms have a listener on the channel; 0: none any more. */
  | { type: 'forms'; key: ChannelKey; mask: number; turn: number }
  /** Asks whether the bus is there now: answered by `verified`, or not at all. */
  | { type: 'verify'; turn: number }
  /** Bytes of frames that are done with. */
  | { type: 'done'; bytes: number }
  | { type: 'counts'; counts: ShardCounts }
  | { type: 'answer'; answer: ShardAnswer }
  | { type: 'admit'; ask: number; ip: string }
  | { type: 'left'; ip: string }
  /** A session of this user was opened, the shard's `session`th, `at` by monotonicMs (only where one per user is set). */
  | { type: 'session'; user: string; session: number; at: number };

export type ShardAnswer =
  | Omit<Extract<Answer, { type: 'rooms' }>, 'gateway'>
  | Omit<Extract<Answer, { type: 'room' | 'user' }>, 'gateway'>;

/** A frame as the shard gets it: one batch in the forms that it has listeners for. */
export type FrameMessage = {
  key: ChannelKey;
  items: number;
  frames: Frame[];
  /** When logic accepted the items: time (milliseconds since the epoch), how many. */
  ages: [at: number, items: number][];
  /** Bytes to report as done. */
  size: number;
};

const JSON_KIND = 0;
const FRAME_KIND = 1;
const HEADER = 5;
/** What a `missed` message takes beside its channel's name, about. */
const MISSED_BYTES = 128;

/** One end of the pair. */
export class Wire<Out, In> {
  readonly #socket: Socket;
  readonly #onMessage: (message: In) => void;
  readonly #onFrame: (frame: FrameMessage) => void;
  readonly #onError: (error: unknown) => void;
  #chunks: Buffer[] = [];
  #buffered = 0;
  #needed = HEADER;
  #corked = false;

  /** @param onError what `onMessage` or `onFrame` threw, or what was no message: those after it still come */
  constructor(
    socket: Socket,
    onMessage: (message: In) => void,
    onFrame: (frame: FrameMessage) => void,
    onError: (error: unknown) => void,
  ) {
    this.#socket = socket;
    this.#onMessage = onMessage;
    this.#onFrame = onFrame;
    this.#onError = onError;
    socket.on('data', (chunk: Buffer) => this.#receive(chunk));
  }

  send(message: Out): void {
    this.#write(JSON_KIND, [Buffer.from(JSON.stringify(message))]);
  }

  /** Sends the frames of a batch; returns their size as `done` will report it. */
  sendFrame(head: Buffer, frames: readonly Frame[]): number {
    return this.#write(FRAME_KIND, [head, ...frames.map((frame) => frame.bytes)]);
  }

  #write(kind: number, parts: Buffer[]): number {
    let size = 0;
    for (const part of parts) size += part.length;
    const header = Buffer.allocUnsafe(HEADER);
    header.writeUInt32LE(size, 0);
    header[4] = kind;
    if (!this.#corked) {
      // What is sent in one turn of the loop goes in one system call.
      this.#corked = true;
      this.#socket.cork();
      process.nextTick(() => {
        this.#corked = false;
        this.#socket.uncork();
      });
    }
    this.#socket.write(header);
    for (const part of parts) this.#socket.write(part);
    return size;
  }

  #receive(chunk: Buffer) {
    this.#chunks.push(chunk);
    this.#buffered += chunk.length;
    if (this.#buffered < this.#needed) return;
    const data = this.#chunks.length === 1 ? chunk : Buffer.concat(this.#chunks, this.#buffered);
    let at = 0;
    this.#needed = HEADER;
    while (data.length - at >= HEADER) {
      const size = data.readUInt32LE(at);
      if (data.length - at < HEADER + size) {
        this.#needed = HEADER + size;
        break;
      }
      this.#dispatch(data[at + 4]!, data.subarray(at + HEADER, at + HEADER + size));
      at += HEADER + size;
    }
    this.#chunks = at < data.length ? [data.subarray(at)] : [];
    this.#buffered = data.length - at;
  }

  #dispatch(kind: number, payload: Buffer) {
    try {
      if (kind === JSON_KIND) this.#onMessage(JSON.parse(payload.toString()) as In);
      else this.#onFrame(decodeFrameMessage(payload));
    } catch (error) {
      this.#onError(error);
    }
  }
}

/** Bytes to report as done for the news of missed items. */
export function missedSize(key: ChannelKey): number {
  return MISSED_BYTES + key.length;
}

/** The part of a frame message before the frames' bytes. */
export function encodeFrameHead(
  key: ChannelKey,
  items: number,
  ages: readonly [number, number][],
  frames: readonly Frame[],
): Buffer {
  const name = Buffer.from(key);
  const head = Buffer.allocUnsafe(2 + name.length + 4 + 2 + ages.length * 12 + 1 + frames.length * 6);
  let at = head.writeUInt16LE(name.length, 0);
  at += name.copy(head, at);
  at = head.writeUInt32LE(items, at);
  at = head.writeUInt16LE(ages.length, at);
  for (const [time, count] of ages) {
    at = head.writeDoubleLE(time, at);
    at = head.writeUInt32LE(count, at);
  }
  at = head.writeUInt8(frames.length, at);
  for (const frame of frames) {
    at = head.writeUInt8(formIndex(frame.form), at);
    at = head.writeUInt8(frame.binary ? 1 : 0, at);
    at = head.writeUInt32LE(frame.bytes.length, at);
  }
  return head;
}

function decodeFrameMessage(bytes: Buffer): FrameMessage {
  const nameLength = bytes.readUInt16LE(0);
  const key = bytes.toString('utf8', 2, 2 + nameLength) as ChannelKey;
  let at = 2 + nameLength;
  const items = bytes.readUInt32LE(at);
  at += 4;
  const ages: [number, number][] = [];
  let left = bytes.readUInt16LE(at);
  at += 2;
  for (; left > 0; left--, at += 12) ages.push([bytes.readDoubleLE(at), bytes.readUInt32LE(at + 8)]);
  const count = bytes[at++]!;
  let data = at + count * 6;
  const frames: Frame[] = [];
  for (let i = 0; i < count; i++, at += 6) {
    const size = bytes.readUInt32LE(at + 2);
    frames.push({
      form: WIRE_FORMS[bytes[at]!]!.form,
      binary: bytes[at + 1] === 1,
      bytes: bytes.subarray(data, data + size),
    });
    data += size;
  }
  return { key, items, frames, ages, size: bytes.length };
}
