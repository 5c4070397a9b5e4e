import type { Position } from '@pushcluster/protocol/frames.ts';
import { fullJitter } from '@pushcluster/protocol/fullJitter.ts';
import { type Form, formIndex, WIRE_FORMS } from '@pushcluster/protocol/wireForms.ts';
import { type Clock, pause } from '@pushcluster/runtime/clock.ts';
import type { ChannelKey } from '../../ipc/channelKey.ts';
import type { ResumeAnswer, ResumeFrom } from '../../ipc/resume.ts';
import type { GatewayMetrics } from '../../metrics/gatewayMetrics.ts';
import type { HubChannel } from '../hubChannel.ts';
import type { IgnoredMessages } from '../ignoredMessages.ts';
import type { ShardHandle } from '../shardHandle.ts';
import { type AskedRoom, type Push, Replays } from './replays.ts';
import type { RoomHistory } from './roomHistory.ts';
import { type RoomTail, readTail } from './roomTail.ts';

/** Milliseconds that an answer may take before it is `unavailable`. */
const ANSWER_MS = 5_000;
/** Milliseconds between two attempts to answer: the first limit, and the largest. */
const [AGAIN_FIRST_MS, AGAIN_LONGEST_MS] = [50, 500];
/** Milliseconds between two comparisons of gateways with the store, and what clocks and answers may add. */
const COMPARE_MARGIN_MS = 6_000;

type Resumed = Extract<ResumeAnswer, { type: 'resumed' }>;
/** An answer, and its frames, if they are yet to be compressed. */
type Made = { answer: ResumeAnswer; compressed?: Promise<Resumed['frames']> };
/** Makes the answer of this moment; undefined if it can't be told yet. */
type Prepared = () => Made | undefined;

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
  readonly #replays: Replays;
  /** Rooms' last pushes, for those who ask for some, and the reads of them that are under way: one for each room. */
  readonly #tails = new WeakMap<RoomHistory, RoomTail>();
  readonly #tailReads = new WeakMap<RoomHistory, { wanted: number; tail: Promise<RoomTail | undefined> }>();

  constructor(options: ResumesOptions) {
    this.#options = options;
    this.#replays = new Replays(options.ignored);
  }

  /** Answers on the shard's port. */
  async resume(shard: ShardHandle, key: ChannelKey, ask: number, form: Form, from: ResumeFrom): Promise<void> {
    const { clock, metrics, failed } = this.#options;
    const began = clock.now();
    let answer: ResumeAnswer | undefined;
    for (let attempt = 0; ; attempt++) {
      try {
        const prepared = await this.#prepared(shard, key, form, from, began);
        const made = shard.isFull ? undefined : prepared?.();
        // It is sent in the turn in which it is made: frames that are sent between the two would reach nobody.
        answer = made?.compressed ? this.#present(shard, key, made.answer, await made.compressed) : made?.answer;
      } catch (error) {
        // The store may be away, or the server that answered behind.
        failed(error);
      }
      if (answer || clock.now() >= began + ANSWER_MS) break;
      await pause(clock, fullJitter(attempt, AGAIN_FIRST_MS, AGAIN_LONGEST_MS));
    }
    shard.sendResumed(key, ask, answer ?? { type: 'unavailable' });
    if (from.type === 'join' && from.since && answer?.type === 'resumed')
      metrics.resumes.inc({ recovered: String(answer.recovered) });
  }

  /** The answer now that its frames are compressed: what was sent meanwhile follows. Undefined if it isn't true any more. */
  #present(shard: ShardHandle, key: ChannelKey, answer: ResumeAnswer, frames: Resumed['frames']) {
    const place = this.#options.channel(key)?.history?.place();
    if (shard.isFull || place === undefined || answer.type !== 'resumed') return undefined;
    if (place.epoch !== answer.place.epoch || place.seq < answer.place.seq) return undefined;
    if (place.seq === answer.place.seq) return { ...answer, frames };
    const { replayTo: _, ...rest } = answer;
    return { ...rest, place, frames, isAll: false };
  }

  /**
   * What makes the answer, with all that the store has to say for it. Undefined if it can't be told yet.
   * @param began when it was asked, by the clock's `now`
   */
  async #prepared(
    shard: ShardHandle,
    key: ChannelKey,
    form: Form,
    from: ResumeFrom,
    began: number,
  ): Promise<Prepared | undefined> {
    const channel = this.#options.channel(key);
    const room = channel?.history;
    if (room === undefined) return () => ({ answer: { type: 'none' } });
    if (shard.isFull || room.place() === undefined) return undefined;
    const asked = { channel: channel!, room, form: WIRE_FORMS[formIndex(form)]! };
    if (from.type === 'next') return this.#since(asked, from.after, from.away, began);
    if (from.since) return this.#since(asked, from.since, from.away, began);
    if (from.last !== undefined) return this.#last(asked, from.last);
    return () => this.#empty(room);
  }

  /** Where the room is. @param recovered absent if nothing was asked for */
  #empty(room: RoomHistory, recovered?: boolean): Made | undefined {
    const place = room.place();
    if (place === undefined) return undefined;
    return {
      answer: { type: 'resumed', place, ...(recovered === undefined ? {} : { recovered }), frames: [], isAll: true },
    };
  }

  /** What follows on `since`. @param began when it was asked, by the clock's `now` */
  async #since(
    asked: AskedRoom,
    since: Position,
    away: number | undefined,
    began: number,
  ): Promise<Prepared | undefined> {
    const { room } = asked;
    const { ring } = room;
    const lost: Prepared = () => this.#empty(room, false);
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
          const isSure = this.#options.clock.now() >= began + room.formerMs && !room.mayBeSetBack;
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
    const joins = () => pending !== 0 && ring.floor <= end;
    if ((reaches || joins()) && room.epoch === since.epoch && since.seq < ring.floor && ring.floor <= upTo)
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
      const isWhole = pending === 0 || joins();
      if (isWhole) stored.push(...ring.between(end, place.seq));
      return this.#resumed(asked, since.seq, place, stored, !isWhole && end < place.seq);
    };
  }

  /** The last `count` pushes that were sent. */
  async #last(asked: AskedRoom, count: number): Promise<Prepared | undefined> {
    const { room } = asked;
    const { ring, epoch } = room;
    const wanted = Math.min(count, room.stream?.messages ?? count);
    const inRing = () => ring.between(ring.floor, room.place()?.seq ?? 0);
    const young = () => {
      const oldest = this.#options.clock.now() - (room.stream?.maxAge ?? Number.POSITIVE_INFINITY);
      return inRing().filter(({ at }) => at >= oldest);
    };
    const [have, notExpired] = [inRing().length, young().length];
    // What is older than a push that has expired has expired, too.
    const isEnough = notExpired >= wanted || notExpired < have;
    const tail = isEnough ? { seqs: [], upTo: ring.floor } : await this.#tail(room, wanted);
    if (tail === undefined) return undefined;
    const seqs = () => {
      const older = tail.seqs.filter((seq) => seq <= Math.min(ring.floor, room.place()?.seq ?? 0));
      return [...older, ...young().map(({ seq }) => seq)].slice(-wanted);
    };
    const [first] = seqs();
    const read = first === undefined || first > ring.floor ? undefined : await room.read(first);
    // Limits have removed it, or the server is behind.
    if (read && read.pushes[0]?.seq !== first) this.#tails.delete(room);
    return () => {
      const place = room.place();
      const all = seqs();
      const [start = (place?.seq ?? 0) + 1] = all;
      const stored = (read?.pushes ?? []).filter(({ seq }) => seq >= start && seq <= ring.floor);
      // The ring has given up what was not read.
      const isMissing = ring.floor > tail.upTo || (start <= ring.floor && stored[0]?.seq !== start);
      if (place === undefined || place.epoch !== epoch || isMissing) return undefined;
      const end = stored.at(-1)?.seq ?? start - 1;
      const isMoreStored = all.some((seq) => seq > end && seq <= ring.floor);
      const rest = isMoreStored ? [] : young().filter(({ seq }) => seq >= start);
      return this.#resumed(asked, start - 1, place, [...stored, ...rest], isMoreStored);
    };
  }

  /** Numbers of the room's last stored pushes, so many with those in the ring. One read for all who ask meanwhile. */
  async #tail(room: RoomHistory, wanted: number): Promise<RoomTail | undefined> {
    const { ring } = room;
    const lacking = () => wanted - ring.between(ring.floor, room.place()?.seq ?? 0).length;
    for (;;) {
      const known = this.#tails.get(room);
      const isKnown = known?.epoch === room.epoch && ring.floor <= (known?.upTo ?? 0);
      if (known && isKnown && (known.isWhole || known.seqs.filter((seq) => seq <= ring.floor).length >= lacking()))
        return known;
      const underWay = this.#tailReads.get(room);
      if (underWay === undefined) break;
      const tail = await underWay.tail;
      if (underWay.wanted >= wanted) return tail;
    }
    const tail = readTail(room, Math.max(1, lacking())).finally(() => this.#tailReads.delete(room));
    this.#tailReads.set(room, { wanted, tail });
    const found = await tail;
    if (found) this.#tails.set(room, found);
    return found;
  }

  /** As many frames as fit into one answer. @param isMoreStored pushes follow that were not read */
  #resumed(
    asked: AskedRoom,
    after: number,
    place: Position,
    pushes: readonly Push[],
    isMoreStored = false,
  ): Made | undefined {
    const replay = this.#replays.of(asked, after, place, pushes);
    if (replay === undefined) return undefined;
    const { frames, end, compressed } = replay;
    const isAll = replay.isAll && !isMoreStored;
    const replayTo = isAll ? end : place.seq;
    const answer: Resumed = {
      ...{ type: 'resumed', place, recovered: true, frames, isAll },
      ...(replayTo === place.seq ? {} : { replayTo }),
    };
    return { answer, ...(compressed && { compressed }) };
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
