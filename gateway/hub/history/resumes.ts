import type { Position } from '@pushcluster/protocol/frames.ts';
import { fullJitter } from '@pushcluster/protocol/fullJitter.ts';
import { decodePush } from '@pushcluster/protocol/push.ts';
import { type Form, formIndex, WIRE_FORMS } from '@pushcluster/protocol/wireForms.ts';
import { type Clock, pause } from '@pushcluster/runtime/clock.ts';
import type { ChannelKey } from '../../ipc/channelKey.ts';
import type { ResumeAnswer, ResumeFrom } from '../../ipc/resume.ts';
import type { GatewayMetrics } from '../../metrics/gatewayMetrics.ts';
import { encodeText } from '../encodeFrames.ts';
import type { HubChannel } from '../hubChannel.ts';
import type { IgnoredMessages } from '../ignoredMessages.ts';
import { type MessagePart, partOf } from '../messagePart.ts';
import type { ShardHandle } from '../shardHandle.ts';
import type { RoomHistory } from './roomHistory.ts';

/** Milliseconds that an answer may take before it is `unavailable`. */
const ANSWER_MS = 5_000;
/** Milliseconds for which a server may answer as the leader that is none any more. NatsHistory does not believe it for longer. */
const FORMER_MS = 4_000;
/** Milliseconds between two attempts to answer: the first limit, and the largest. */
const [AGAIN_FIRST_MS, AGAIN_LONGEST_MS] = [50, 500];
/** Bytes of items in one frame, and in one answer: the rest follows once the client has read. */
const [FRAME_BYTES, ANSWER_BYTES] = [65_536, 262_144];
/** Milliseconds between two comparisons of gateways with the store, and what clocks and answers may add. */
const COMPARE_MARGIN_MS = 6_000;
/** Answers kept of each room, for those who come back at the same time from the same place. */
const KEPT_ANSWERS = 16;

/** A push of the room. */
type Push = { seq: number; bytes: Uint8Array };
/** A room, and the form in which it is asked for. */
type Asked = { room: RoomHistory; key: ChannelKey; hasIds: boolean };
/** Makes the answer of this moment; undefined if it can't be told yet. */
type Prepared = () => ResumeAnswer | undefined;
type Replay = { frames: { seq: number; text: string }[]; isAll: boolean };

export type ResumesOptions = {
  channel: (key: ChannelKey) => HubChannel | undefined;
  clock: Clock;
  ignored: IgnoredMessages;
  metrics: Pick<GatewayMetrics, 'resumes'>;
  /** The store cannot be read: called for each attempt. */
  failed: (error: unknown) => void;
};

/**
 * Answers members of rooms with history that come back, or come late: where they are, and what they missed. All frames that
 * are sent after an answer follow on its position.
 */
export class Resumes {
  readonly #options: ResumesOptions;
  readonly #replays = new WeakMap<RoomHistory, { sent: Position; byStart: Map<string, Replay> }>();

  constructor(options: ResumesOptions) {
    this.#options = options;
  }

  /** Answers on the shard's port. */
  async resume(shard: ShardHandle, key: ChannelKey, ask: number, form: Form, from: ResumeFrom): Promise<void> {
    const { clock, metrics, failed } = this.#options;
    const [deadline, untilSure] = [clock.now() + ANSWER_MS, clock.now() + FORMER_MS];
    let answer: ResumeAnswer | undefined;
    for (let attempt = 0; ; attempt++) {
      // The store may be away, or the server that answered behind.
      const prepared = await this.#prepared(shard, key, form, from, untilSure).catch((error: unknown) => failed(error));
      // It is sent in the turn in which it is made: frames that are sent between the two would reach nobody.
      answer = prepared?.();
      if (answer || clock.now() >= deadline) break;
      await pause(clock, fullJitter(attempt, AGAIN_FIRST_MS, AGAIN_LONGEST_MS));
    }
    shard.sendResumed(key, ask, answer ?? { type: 'unavailable' });
    if (from.type === 'join' && answer?.type === 'resumed' && answer.recovered !== undefined)
      metrics.resumes.inc({ recovered: String(answer.recovered) });
  }

  /** What makes the answer, with all that the store has to say for it. Undefined if it can't be told yet. */
  async #prepared(
    shard: ShardHandle,
    key: ChannelKey,
    form: Form,
    from: ResumeFrom,
    untilSure: number,
  ): Promise<Prepared | undefined> {
    const room = this.#options.channel(key)?.history;
    if (room === undefined) return () => ({ type: 'none' });
    if (shard.isFull || room.place() === undefined) return undefined;
    const asked = { room, key, hasIds: WIRE_FORMS[formIndex(form)]!.hasIds };
    if (from.type === 'next') return this.#since(asked, from.after, from.away, untilSure);
    if (from.since) return this.#since(asked, from.since, from.away, untilSure);
    if (from.last !== undefined) return this.#last(asked, from.last);
    return () => {
      const place = room.place();
      return place && { type: 'resumed', place, frames: [], isAll: true };
    };
  }

  /** What follows on `since`. @param untilSure until when a former leader may answer, by the clock's `now` */
  async #since(
    asked: Asked,
    since: Position,
    away: number | undefined,
    untilSure: number,
  ): Promise<Prepared | undefined> {
    const { room } = asked;
    const { ring } = room;
    const lost: Prepared = () => {
      const place = room.place();
      return place && { type: 'resumed', place, recovered: false, frames: [], isAll: true };
    };
    if (since.epoch !== room.epoch) {
      // It may come from a gateway that knows of another history before this one does.
      await room.looked();
      if (since.epoch !== room.epoch) return lost;
    }
    if (since.seq >= ring.floor) {
      if (since.seq > room.head!) {
        // It comes from a gateway that is ahead, or the room has been quiet for both.
        if (!(await room.hasReached(since.seq))) {
          // A stream that was set back is another history soon: the client is reset once, in that one.
          const isSure = this.#options.clock.now() >= untilSure && !room.mayBeSetBack;
          return isSure ? lost : undefined;
        }
        if ((await room.next(room.head!, since.seq)) <= since.seq) return undefined;
      }
      return () => {
        const place = room.place();
        if (place === undefined || place.epoch !== since.epoch) return lost();
        // What is pending has smaller numbers too: a frame with some of it would tell of it twice.
        if (since.seq < ring.floor || (since.seq > place.seq && room.isPending)) return undefined;
        if (since.seq > place.seq) room.isAhead(since.seq);
        return this.#resumed(asked, since.seq, place, ring.between(since.seq, place.seq));
      };
    }
    // From the message itself on: if it is still there, limits have removed none after it.
    const { pushes, pending } = await room.read(Math.max(1, since.seq));
    const read = pushes.filter(({ seq }) => seq > since.seq);
    const isThere = pushes[0]?.seq === since.seq;
    if (!isThere && !this.#lacksNone(room, since.seq, read.length + (pending ?? Number.POSITIVE_INFINITY), away))
      return lost;
    const end = read.at(-1)?.seq ?? since.seq;
    // The server that answered may be behind. Then the leader may have removed what it had, and more.
    const upTo = Math.max(end, ring.floor);
    const isBehind = pending === 0 && end < upTo;
    const next = isBehind ? await room.next(end, upTo) : upTo + 1;
    if (isBehind && isThere && (await room.next(since.seq - 1, since.seq)) > since.seq) return lost;
    // What follows may have had limits remove what that server did not know of, unless nothing follows.
    const reaches = pending === 0 && (isThere || !isBehind ? next > upTo : next === Number.POSITIVE_INFINITY);
    // Those who come after this one, from about the same place, are served from the ring.
    if (reaches && room.epoch === since.epoch && since.seq < ring.floor && ring.floor <= upTo)
      room.keep(
        read.filter(({ seq }) => seq <= ring.floor),
        since.seq,
      );
    return () => {
      const place = room.place();
      if (place === undefined || place.epoch !== since.epoch) return lost();
      // The ring has given up what was not read, or the server is behind.
      if (pending === 0 && (!reaches || ring.floor > upTo)) return undefined;
      const stored = read.filter(({ seq }) => seq <= place.seq);
      if (pending === 0) stored.push(...ring.between(end, place.seq));
      return this.#resumed(asked, since.seq, place, stored, pending !== 0 && end < place.seq);
    };
  }

  /** The last `count` pushes that were sent. */
  async #last(asked: Asked, count: number): Promise<Prepared | undefined> {
    const { room } = asked;
    const { ring, epoch } = room;
    const { floor } = ring;
    let older: Push[] = [];
    if (ring.between(0, room.place()!.seq).length < count)
      for (let from = 1; from <= floor; ) {
        const { pushes, pending } = await room.read(from);
        older = [...older, ...pushes.filter(({ seq }) => seq <= floor)].slice(-count);
        const end = pushes.at(-1)?.seq ?? from - 1;
        if (pending !== 0 && pushes.length > 0) from = end + 1;
        else if (end >= floor || (await room.next(end, floor)) > floor) break;
        else return undefined;
      }
    return () => {
      const place = room.place();
      // The ring has given up what was not read.
      if (place === undefined || place.epoch !== epoch || ring.floor > floor) return undefined;
      const oldest = this.#options.clock.now() - (room.stream?.maxAge ?? Number.POSITIVE_INFINITY);
      const kept = ring.between(floor, place.seq).filter(({ at }) => at >= oldest);
      const last = [...older, ...kept].slice(-count);
      const [first] = last;
      return this.#resumed(asked, first === undefined ? place.seq : first.seq - 1, place, last);
    };
  }

  /** As many frames as fit into one answer. @param isMoreStored pushes follow that were not read */
  #resumed(asked: Asked, after: number, place: Position, pushes: readonly Push[], isMoreStored = false): ResumeAnswer {
    const { frames, ...replay } = this.#replay(asked, after, place, pushes);
    const isAll = replay.isAll && !isMoreStored;
    const replayTo = isAll ? (frames.at(-1)?.seq ?? after) : place.seq;
    return { type: 'resumed', place, recovered: true, frames, isAll, ...(replayTo === place.seq ? {} : { replayTo }) };
  }

  /** The frames that follow on `after`: encoded once for all who ask for them before the next is sent. */
  #replay({ room, key, hasIds }: Asked, after: number, place: Position, pushes: readonly Push[]): Replay {
    let kept = this.#replays.get(room);
    if (kept?.sent.seq !== place.seq || kept.sent.epoch !== place.epoch) {
      kept = { sent: place, byStart: new Map() };
      this.#replays.set(room, kept);
    }
    const start = `${after} ${pushes.length} ${hasIds}`;
    let replay = kept.byStart.get(start);
    if (replay === undefined) {
      replay = this.#encode(key, hasIds, after, place.epoch, pushes);
      if (kept.byStart.size >= KEPT_ANSWERS) kept.byStart.clear();
      kept.byStart.set(start, replay);
    }
    return replay;
  }

  #encode(key: ChannelKey, hasIds: boolean, after: number, epoch: string, pushes: readonly Push[]): Replay {
    const frames: Replay['frames'] = [];
    let parts: MessagePart[] = [];
    let [bytes, total, end, i] = [0, 0, after, 0];
    const flush = () => {
      if (parts.length > 0) frames.push({ seq: end, text: encodeText(key, parts, hasIds).toString() });
      [parts, bytes] = [[], 0];
    };
    for (; i < pushes.length && total < ANSWER_BYTES; i++) {
      const { seq, bytes: message } = pushes[i]!;
      const push = this.#options.ignored.decode(message, decodePush);
      if (push === undefined || push.items.lengths.length === 0) continue;
      const size = push.items.bytes.length;
      if (parts.length > 0 && bytes + size > FRAME_BYTES) flush();
      parts.push({ ...partOf(push, push.items, 0), position: { seq, previous: end, epoch } });
      [bytes, total, end] = [bytes + size, total + size, seq];
    }
    flush();
    return { frames, isAll: i === pushes.length };
  }

  /**
   * Whether limits cannot have removed a push after `seq`, although that itself is gone: what came after it is younger than
   * the time since the client was there, limits were not raised since, and the room is not full.
   */
  #lacksNone(room: RoomHistory, seq: number, kept: number, away: number | undefined): boolean {
    const state = room.stream;
    if (state === undefined || away === undefined || seq > state.last) return false;
    return seq >= state.floor && kept < state.messages && away + COMPARE_MARGIN_MS < state.maxAge;
  }
}
