import { promisify } from 'node:util';
import { constants, deflateRaw, deflateRawSync } from 'node:zlib';
import type { IdRun } from '@pushcluster/protocol/frames.ts';
import { DEFLATE_MIN_BYTES, WIRE_FORMS } from '@pushcluster/protocol/wireForms.ts';
import { type ChannelKey, isUser, roomOf } from '../ipc/channelKey.ts';
import type { Frame } from '../ipc/frame.ts';
import type { MessagePart } from './messagePart.ts';

const CLOSE = Buffer.from(']}}');
/** Larger texts are compressed at zlib's level 1: 256 KiB take 3 ms instead of 16, and the result is a fifth larger. */
const FAST_ABOVE_BYTES = 131_072;

/**
 * The frames of one batch, for each wire form in `mask`: encoded once for all sockets. Items are copied and never
 * parsed. Forms with ids mark what was pushed to a user: a publisher counts users' items apart from those of all, and
 * clients must not take the two counters for one.
 */
export function encodeFrames(key: ChannelKey, parts: readonly MessagePart[], mask: number): Frame[] {
  const frames: Frame[] = [];
  let withIds: Buffer | undefined;
  let withoutIds: Buffer | undefined;
  for (const { form, hasIds, compressed } of WIRE_FORMS) {
    if ((mask & form) === 0) continue;
    let text: Buffer;
    if (hasIds) text = withIds ??= encodeText(key, parts, true);
    else text = withoutIds ??= encodeText(key, parts, false);
    const binary = compressed && text.length >= DEFLATE_MIN_BYTES;
    frames.push({ form, binary, bytes: binary ? deflate(text) : text });
  }
  return frames;
}

/** One frame as its JSON text. @param hasIds with the runs of items by publisher */
export function encodeText(key: ChannelKey, parts: readonly MessagePart[], hasIds: boolean): Buffer {
  const room = roomOf(key);
  const place = room === undefined ? '' : `"room":${JSON.stringify(room)},`;
  const position = positionOf(parts);
  if (!hasIds) return join(`{"type":"PUSH","data":{${place}${position}"items":[`, parts);
  const user = isUser(key) ? '"user":true,' : '';
  return join(
    `{"type":"PUSH","data":{${place}${user}${position}"ids":${JSON.stringify(idRuns(parts))},"items":[`,
    parts,
  );
}

/** The position of the last push in the room's history, and the one before the first. */
function positionOf(parts: readonly MessagePart[]): string {
  const last = parts.at(-1)?.position;
  const first = parts[0]?.position;
  if (!last || !first || last.epoch === undefined) return '';
  return `"seq":${last.seq},"prev":${first.previous},"epoch":${JSON.stringify(last.epoch)},`;
}

/** Compresses a frame at once. */
export function deflate(text: Buffer): Buffer {
  return deflateRawSync(text, text.length > FAST_ABOVE_BYTES ? { level: constants.Z_BEST_SPEED } : {});
}

const deflateRawSoon = promisify<Buffer, object, Buffer>(deflateRaw);

/**
 * Compresses a frame outside the event loop, at level 1: for those who come back, who may be many, from many places at once,
 * while others are sent what is new.
 */
export function deflateSoon(text: Buffer): Promise<Buffer> {
  return deflateRawSoon(text, { level: constants.Z_BEST_SPEED });
}

/**
 * Runs of items by publisher. Parts whose counters follow each other are one run, unless an idempotency key tells them
 * apart.
 */
export function idRuns(parts: readonly MessagePart[]): IdRun[] {
  const runs: IdRun[] = [];
  for (const { publisher, first, items, id, origin = first, skipped } of parts) {
    const count = items.lengths.length;
    if (skipped) runs.push([publisher, skipped.first, 0, skipped.count]);
    const push = id ? wireId(id) : undefined;
    const last = runs.at(-1);
    if (last && last[0] === publisher && last[1] + last[2] === first && last[3] === push) last[2] += count;
    else if (push === undefined) runs.push([publisher, first, count]);
    else if (first === origin) runs.push([publisher, first, count, push]);
    else runs.push([publisher, first, count, push, first - origin]);
  }
  return runs;
}

/**
 * The text by which a client knows a push that comes again: 60 bits of the digest that logic made, and the number of
 * the message if the push was split. Undefined if a logic pod of a former version passed the id on as it was.
 */
function wireId(id: string): string | undefined {
  const [, digest, part] = /^([A-Za-z0-9_-]{10})[A-Za-z0-9_-]{12}\/(\d+)$/.exec(id) ?? [];
  return digest === undefined || part === '0' ? digest : `${digest}.${part}`;
}

function join(open: string, parts: readonly MessagePart[]): Buffer {
  const head = Buffer.from(open);
  let size = head.length + CLOSE.length + Math.max(0, parts.length - 1);
  for (const part of parts) size += part.items.bytes.length;
  const bytes = Buffer.allocUnsafe(size);
  let at = head.copy(bytes);
  for (const [i, part] of parts.entries()) {
    if (i > 0) bytes[at++] = 0x2c;
    bytes.set(part.items.bytes, at);
    at += part.items.bytes.length;
  }
  CLOSE.copy(bytes, at);
  return bytes;
}
