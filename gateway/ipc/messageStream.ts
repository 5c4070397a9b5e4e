import type { Socket } from 'node:net';
import type { Clock } from '@pushcluster/runtime/clock.ts';
import { PACE_MS, Pace } from '@pushcluster/runtime/pace.ts';
import { decodeFrameMessage, type FrameBatch, type FrameMessage, frameSize, writeFrameHead } from './frame.ts';

const JSON_KIND = 0;
const FRAME_KIND = 1;
/** Bytes before a message's payload. */
const HEADER = 5;
/** What is sent is collected in blocks of this many bytes: a turn of the loop with many small rooms is a few of them. */
const BLOCK_BYTES = 65_536;
/** Frames up to this many bytes are copied into the block. Larger ones are written from where they are, for all shards. */
const COPIED_BYTES = 4_096;
const NO_BYTES = Buffer.alloc(0);

/**
 * One end of the socket pair between hub and shard. A message is `u32 length · u8 kind · payload`, little-endian; the
 * payload of a batch is binary, that of any other message is JSON.
 */
export class MessageStream<Out, In> {
  readonly #socket: Socket;
  readonly #onMessage: (message: In) => void;
  readonly #onFrame: (frame: FrameMessage) => void;
  readonly #onError: (error: unknown) => void;
  #received: Buffer[] = [];
  #buffered = 0;
  #needed = HEADER;
  // The block that is being filled, from where on it is yet to be written, and where it ends.
  #block: Buffer = NO_BYTES;
  #start = 0;
  #at = 0;
  /** Written in this turn of the loop, before what is in the block. */
  #parts: Buffer[] = [];
  #scheduled = false;
  /** While many messages are sent, they gather: the other end is woken less often. Undefined: they never do. */
  readonly #pace: { clock: Pick<Clock, 'now' | 'after'>; rule: Pace } | undefined;
  /** Messages since the last write. */
  #messages = 0;
  /** Earliest time of the next write, by the clock. */
  #next = 0;

  /**
   * @param onError what `onMessage` or `onFrame` threw, or what was no message: those after it still come
   * @param clock if many messages are to be sent together, a few milliseconds late
   */
  constructor(
    socket: Socket,
    onMessage: (message: In) => void,
    onFrame: (frame: FrameMessage) => void,
    onError: (error: unknown) => void,
    clock?: Pick<Clock, 'now' | 'after'>,
  ) {
    this.#pace = clock && { clock, rule: new Pace() };
    this.#socket = socket;
    this.#onMessage = onMessage;
    this.#onFrame = onFrame;
    this.#onError = onError;
    socket.on('data', (chunk: Buffer) => this.#receive(chunk));
  }

  send(message: Out): void {
    const text = Buffer.from(JSON.stringify(message));
    this.#begin(JSON_KIND, text.length, 0);
    this.#append(text);
  }

  /** Sends the frames of a batch; returns their size as `done` will report it. */
  sendFrame(...batch: FrameBatch): number {
    const [, , , frames] = batch;
    const size = frameSize(...batch);
    let headSize = size;
    for (const { bytes } of frames) headSize -= bytes.length;
    this.#begin(FRAME_KIND, size, headSize);
    this.#at = writeFrameHead(this.#block, this.#at, ...batch);
    for (const { bytes } of frames) this.#append(bytes);
    return size;
  }

  /** Begins a message of `size` bytes, of which the first `room` fit in the block. */
  #begin(kind: number, size: number, room: number) {
    this.#reserve(HEADER + room);
    this.#at = this.#block.writeUInt32LE(size, this.#at);
    this.#block[this.#at++] = kind;
    this.#messages++;
    if (this.#scheduled) return;
    this.#scheduled = true;
    const wait = this.#next > 0 && this.#pace ? this.#next - this.#pace.clock.now() : 0;
    if (this.#pace && wait > 0) this.#pace.clock.after(wait, () => this.#flush());
    // What is sent in one turn of the loop goes in one system call.
    else setImmediate(() => this.#flush());
  }

  #append(bytes: Buffer) {
    if (bytes.length > COPIED_BYTES) {
      this.#closePart();
      this.#parts.push(bytes);
      return;
    }
    this.#reserve(bytes.length);
    this.#at += bytes.copy(this.#block, this.#at);
  }

  /** Makes room for `size` bytes in the block. What was written is never changed: the socket may still have to send it. */
  #reserve(size: number) {
    if (this.#block.length - this.#at >= size) return;
    this.#closePart();
    this.#block = Buffer.allocUnsafeSlow(Math.max(BLOCK_BYTES, size));
    this.#start = 0;
    this.#at = 0;
  }

  #closePart() {
    if (this.#at > this.#start) this.#parts.push(this.#block.subarray(this.#start, this.#at));
    this.#start = this.#at;
  }

  #flush() {
    this.#scheduled = false;
    if (this.#pace) {
      const now = this.#pace.clock.now();
      this.#next = this.#pace.rule.handled(this.#messages, now) ? now + PACE_MS : 0;
      this.#messages = 0;
    }
    this.#closePart();
    const parts = this.#parts;
    this.#parts = [];
    if (parts.length > 1) this.#socket.cork();
    for (const part of parts) this.#socket.write(part);
    if (parts.length > 1) this.#socket.uncork();
  }

  #receive(chunk: Buffer) {
    this.#received.push(chunk);
    this.#buffered += chunk.length;
    if (this.#buffered < this.#needed) return;
    const data = this.#received.length === 1 ? chunk : Buffer.concat(this.#received, this.#buffered);
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
    this.#received = at < data.length ? [data.subarray(at)] : [];
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
