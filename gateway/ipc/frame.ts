import { type Form, formIndex, WIRE_FORMS } from '@pushcluster/protocol/wireForms.ts';
import type { ChannelKey } from './channelKey.ts';

/** One batch in one wire form, ready for the socket. */
export type Frame = { form: Form; binary: boolean; bytes: Buffer };

/** Where a batch is in the room's history: after `prev`, up to `seq`. */
export type FramePlace = { epoch: string; prev: number; seq: number };

/** A batch as the hub sends it: FrameMessage says what its parts are. */
export type FrameBatch = [
  key: ChannelKey,
  items: number,
  ages: readonly [number, number][],
  frames: readonly Frame[],
  place?: FramePlace | undefined,
];

/** A batch as the shard receives it, in the forms that have a listener there. */
export type FrameMessage = {
  key: ChannelKey;
  /**
   * Items in the batch. Positions count items: the channel's position at the shard moves on by so many. The hub has no
   * position of its own, but each publisher's counter, which counts items too (MessagePart).
   */
  items: number;
  frames: Frame[];
  /** When logic accepted the items: time (milliseconds since the epoch), how many. */
  ages: [at: number, items: number][];
  /** Absent if the room has no history. */
  place?: FramePlace | undefined;
  /** Bytes to report as done. */
  size: number;
};

/** Bytes of a frame message. */
export function frameSize(...[key, , ages, frames, place]: FrameBatch): number {
  const placeBytes = place ? 17 + Buffer.byteLength(place.epoch) : 1;
  let size = 2 + Buffer.byteLength(key) + 4 + placeBytes + 2 + ages.length * 12 + 1 + frames.length * 6;
  for (const { bytes } of frames) size += bytes.length;
  return size;
}

/**
 * Writes the part of a frame message before the frames' bytes: all numbers little-endian. `into` must have room for it.
 * @returns where it ends
 */
export function writeFrameHead(into: Buffer, start: number, ...[key, items, ages, frames, place]: FrameBatch): number {
  const nameLength = into.write(key, start + 2);
  into.writeUInt16LE(nameLength, start);
  let at = into.writeUInt32LE(items, start + 2 + nameLength);
  const epochLength = place ? into.write(place.epoch, at + 1) : 0;
  at = into.writeUInt8(epochLength, at);
  if (place) {
    at = into.writeDoubleLE(place.prev, at + epochLength);
    at = into.writeDoubleLE(place.seq, at);
  }
  at = into.writeUInt16LE(ages.length, at);
  for (const [time, count] of ages) {
    at = into.writeDoubleLE(time, at);
    at = into.writeUInt32LE(count, at);
  }
  at = into.writeUInt8(frames.length, at);
  for (const frame of frames) {
    at = into.writeUInt8(formIndex(frame.form), at);
    at = into.writeUInt8(frame.binary ? 1 : 0, at);
    at = into.writeUInt32LE(frame.bytes.length, at);
  }
  return at;
}

/** Throws RangeError or TypeError if `bytes` are no frame message. The frames' bytes are views of `bytes`. */
export function decodeFrameMessage(bytes: Buffer): FrameMessage {
  const nameLength = bytes.readUInt16LE(0);
  const key = bytes.toString('utf8', 2, 2 + nameLength) as ChannelKey;
  let at = 2 + nameLength;
  const items = bytes.readUInt32LE(at);
  at += 4;
  const epochLength = bytes[at++]!;
  let place: FramePlace | undefined;
  if (epochLength > 0) {
    const epoch = bytes.toString('utf8', at, at + epochLength);
    at += epochLength;
    place = { epoch, prev: bytes.readDoubleLE(at), seq: bytes.readDoubleLE(at + 8) };
    at += 16;
  }
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
  return { key, items, frames, ages, place, size: bytes.length };
}
