import type { Position } from '@pushcluster/protocol/frames.ts';
import { decodePush } from '@pushcluster/protocol/push.ts';
import { DEFLATE_MIN_BYTES, type WireForm } from '@pushcluster/protocol/wireForms.ts';
import type { ChannelKey } from '../../ipc/channelKey.ts';
import type { ResumeFrame } from '../../ipc/resume.ts';
import { deflate, deflateSoon, encodeText } from '../encodeFrames.ts';
import type { HubChannel } from '../hubChannel.ts';
import type { IgnoredMessages } from '../ignoredMessages.ts';
import { type MessagePart, partOf } from '../messagePart.ts';
import type { RoomHistory } from './roomHistory.ts';

/** Bytes of items in one frame, unless the room's batches have less, and in one answer: the rest follows on request. */
const [FRAME_BYTES, ANSWER_BYTES] = [65_536, 262_144];
/** Replays kept of each room, for those who come back at the same time from the same place. */
const KEPT_OF_ROOM = 16;
/** Bytes of all that are kept, about. Beyond it they are forgotten, and made anew for those who ask. */
const KEPT_BYTES = 33_554_432;
/** Bytes of texts that are compressed at once. More is compressed outside the event loop. */
const AT_ONCE_BYTES = 16_384;
/** Replays that are being compressed or wait for it at most. Whoever asks for more asks again. */
const MAX_COMPRESSING = 64;

/** A push of the room. */
export type Push = { seq: number; bytes: Uint8Array };
/** A room, and the form in which it is asked for. */
export type AskedRoom = { channel: HubChannel; room: RoomHistory; form: WireForm };

/** What follows on a push. */
export type Replay = {
  /** The beginning of it: as many frames as fit into one answer. */
  frames: readonly ResumeFrame[];
  /** Position of the last push in the frames. */
  end: number;
  /** The frames have all of it. */
  isAll: boolean;
  /** The frames as they are sent, if that takes longer. */
  compressed?: Promise<readonly ResumeFrame[]>;
};

type Text = { seq: number; items: number; text: Buffer };
type Kept = { sent: Position; byStart: Map<string, Replay>; bytes: number };

/** Pushes as frames for those who missed them: encoded and compressed once for all who ask before the next is sent. */
export class Replays {
  readonly #ignored: IgnoredMessages;
  #kept = new WeakMap<RoomHistory, Kept>();
  #bytes = 0;
  /** One after the other: the loop and other threads have other work. */
  #compressing: Promise<unknown> = Promise.resolve();
  #waiting = 0;

  constructor(ignored: IgnoredMessages) {
    this.#ignored = ignored;
  }

  /** @param place up to where frames were sent. Undefined if too many wait to be compressed */
  of({ channel, room, form }: AskedRoom, after: number, place: Position, pushes: readonly Push[]): Replay | undefined {
    const { maxItems, maxBytes } = channel.rules;
    const kept = this.#keptOf(room, place);
    const start = [after, pushes.length, form.hasIds, form.compressed, maxItems, maxBytes].join(' ');
    const known = kept.byStart.get(start);
    if (known) return known;
    if (form.compressed && this.#waiting >= MAX_COMPRESSING) return undefined;
    const { texts, ...replay } = this.#encode(channel, form.hasIds, after, place.epoch, pushes);
    const bytes = texts.reduce((sum, { text }) => sum + text.length, 0);
    const made: Replay =
      form.compressed && bytes > AT_ONCE_BYTES
        ? { ...replay, frames: [], compressed: this.#compress(texts) }
        : { ...replay, frames: texts.map((each) => (isLarge(each) && form.compressed ? deflated(each) : plain(each))) };
    if (kept.byStart.size >= KEPT_OF_ROOM) this.#forget(kept);
    kept.byStart.set(start, made);
    made.compressed?.catch(() => kept.byStart.delete(start));
    kept.bytes += bytes;
    this.#bytes += bytes;
    if (this.#bytes > KEPT_BYTES) [this.#kept, this.#bytes] = [new WeakMap(), 0];
    return made;
  }

  #keptOf(room: RoomHistory, place: Position): Kept {
    const before = this.#kept.get(room);
    if (before?.sent.seq === place.seq && before.sent.epoch === place.epoch) return before;
    if (before) this.#forget(before);
    const kept = { sent: place, byStart: new Map(), bytes: 0 };
    this.#kept.set(room, kept);
    return kept;
  }

  #forget(kept: Kept) {
    this.#bytes -= kept.bytes;
    kept.bytes = 0;
    kept.byStart.clear();
  }

  async #compress(texts: readonly Text[]): Promise<readonly ResumeFrame[]> {
    this.#waiting++;
    const done = this.#compressing.then(async () => {
      const frames: ResumeFrame[] = [];
      for (const each of texts) frames.push(isLarge(each) ? deflated(each, await deflateSoon(each.text)) : plain(each));
      return frames;
    });
    this.#compressing = done.catch(() => {});
    try {
      return await done;
    } finally {
      this.#waiting--;
    }
  }

  #encode({ key, rules }: HubChannel, hasIds: boolean, after: number, epoch: string, pushes: readonly Push[]) {
    const maxBytes = Math.min(rules.maxBytes, FRAME_BYTES);
    const texts: Text[] = [];
    let parts: MessagePart[] = [];
    let [items, bytes, total, end, i] = [0, 0, 0, after, 0];
    const flush = () => {
      if (parts.length > 0) texts.push({ seq: end, items, text: encodeText(key as ChannelKey, parts, hasIds) });
      [parts, items, bytes] = [[], 0, 0];
    };
    for (; i < pushes.length && total < ANSWER_BYTES; i++) {
      const { seq, bytes: message } = pushes[i]!;
      const push = this.#ignored.decode(message, decodePush);
      if (push === undefined || push.items.lengths.length === 0) continue;
      const [count, size] = [push.items.lengths.length, push.items.bytes.length];
      // A push is never split: one that is larger has a frame of its own.
      if (items + count > rules.maxItems || bytes + size > maxBytes) flush();
      parts.push({ ...partOf(push, push.items, 0), position: { seq, previous: end, epoch } });
      [items, bytes, total, end] = [items + count, bytes + size, total + size, seq];
    }
    flush();
    return { texts, end, isAll: i === pushes.length };
  }
}

function isLarge({ text }: Text): boolean {
  return text.length >= DEFLATE_MIN_BYTES;
}

function plain({ seq, items, text }: Text): ResumeFrame {
  return { seq, items, text: text.toString() };
}

function deflated({ seq, items, text }: Text, bytes = deflate(text)): ResumeFrame {
  return { seq, items, deflated: bytes.toString('base64') };
}
