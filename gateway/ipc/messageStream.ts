import type { Socket } from 'node:net';
import { decodeFrameMessage, type Frame, type FrameMessage } from './frame.ts';

const JSON_KIND = 0;
const FRAME_KIND = 1;
/** Bytes before a message's payload. */
const HEADER = 5;

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
