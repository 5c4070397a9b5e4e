import type { Position } from '@pushcluster/protocol/frames.ts';
import { decodePush } from '@pushcluster/protocol/push.ts';
import { type Form, WIRE_FORMS } from '@pushcluster/protocol/wireForms.ts';
import { type Clock, pause } from '@pushcluster/runtime/clock.ts';
import type { ChannelKey } from '../../ipc/channelKey.ts';
import type { ResumeAnswer, ResumeFrom } from '../../ipc/resume.ts';
import type { GatewayMetrics } from '../../metrics/gatewayMetrics.ts';
import { encodeText } from '../encodeFrames.ts';
import type { HubChannel } from '../hubChannel.ts';
import { type MessagePart, partOf } from '../messagePart.ts';
import type { ShardHandle } from '../shardHandle.ts';
import type { HistoryInlet } from './historyInlet.ts';
import type { Stored } from './roomRing.ts';

/** Milliseconds that an answer may take before it is `unavailable`. */
const ANSWER_MS = 5_000;
/** Milliseconds between two attempts to read the store. */
const AGAIN_MS = 100;
/** Pushes read from the store at once. */
const BATCH = 200;
/** Bytes of items in one frame, and in one answer: the rest follows once the client has read. */
const [FRAME_BYTES, ANSWER_BYTES] = [65_536, 262_144];
/** Milliseconds between two comparisons of gateways with the store, and what clocks and answers may add. */
const COMPARE_MARGIN_MS = 6_000;

/** Makes the answer of this moment; undefined if what was read for it is not enough any more. */
type Prepared = () => ResumeAnswer | undefined;

export type ResumesOptions = {
  channel: (key: ChannelKey) => HubChannel | undefined;
  clock: Clock;
  metrics: Pick<GatewayMetrics, 'resumes'>;
};

/** Answers members of rooms with history that come back, or come late: where they are, and what they missed. */
export class Resumes {
  readonly #options: ResumesOptions;

  constructor(options: ResumesOptions) {
    this.#options = options;
  }

  /** Answers on the shard's port: all frames that are sent after the answer have larger numbers than its position. */
  async resume(shard: ShardHandle, key: ChannelKey, ask: number, form: Form, from: ResumeFrom): Promise<void> {
    const { clock, metrics } = this.#options;
    const deadline = clock.now() + ANSWER_MS;
    let answer: ResumeAnswer | undefined;
    for (;;) {
      const inlet = this.#options.channel(key)?.history;
      if (inlet === undefined) answer = { type: 'none' };
      // The store may be away, or the server that answered behind.
      else answer = (await this.#prepared(inlet, key, form, from).catch(() => undefined))?.();
      // In the turn in which the answer was made: frames that are sent between the two would reach nobody.
      if (answer || clock.now() >= deadline) break;
      await pause(clock, AGAIN_MS);
    }
    shard.send({ type: 'resumed', key, ask, answer: answer ?? { type: 'unavailable' } });
    if (from.type === 'join' && answer?.type === 'resumed' && answer.recovered !== undefined)
      metrics.resumes.inc({ recovered: String(answer.recovered) });
  }

  /** What makes the answer, with all that the store has to say for it. Undefined if it can't be told yet. */
  async #prepared(inlet: HistoryInlet, key: ChannelKey, form: Form, from: ResumeFrom): Promise<Prepared | undefined> {
    if (inlet.epoch === undefined || inlet.head === undefined) return undefined;
    if (from.type === 'next') return this.#since(inlet, key, form, from.after, undefined);
    if (from.since) return this.#since(inlet, key, form, from.since, { away: from.away });
    if (from.last !== undefined) return this.#last(inlet, key, form, from.last);
    return () => ({ type: 'resumed', position: positionOf(inlet), frames: [], more: false });
  }

  async #since(
    inlet: HistoryInlet,
    key: ChannelKey,
    form: Form,
    since: Position,
    join: { away: number | undefined } | undefined,
  ): Promise<Prepared> {
    const { ring } = inlet;
    const lost = (): ResumeAnswer => ({
      ...{ type: 'resumed', position: positionOf(inlet), frames: [], more: false },
      recovered: false,
    });
    if (since.epoch !== inlet.epoch) return lost;
    let end = since.seq;
    let more = false;
    const read: Stored[] = [];
    if (since.seq < ring.floor) {
      // From the message itself on: if it is still there, limits have removed none after it.
      const extract = await inlet.read(Math.max(1, since.seq), BATCH);
      more = extract.more;
      for (const { seq, bytes } of extract.pushes) {
        if (seq <= since.seq) continue;
        read.push({ seq, previous: end, bytes });
        end = seq;
      }
      const isThere = extract.pushes[0]?.seq === since.seq || join === undefined;
      if (!isThere && !this.#lacksNone(inlet, since.seq, read.length + (more ? 1 : 0), join?.away)) return lost;
    } else if (join && since.seq > inlet.sent && !(await inlet.hasReached(since.seq))) return lost;
    return () => {
      if (since.epoch !== inlet.epoch) return lost();
      // What follows is neither in the ring nor to be read: the server that answered is behind.
      if (!more && end < ring.floor) return undefined;
      const { sent } = inlet;
      const stored = [...read.filter(({ seq }) => seq <= sent), ...(more ? [] : ring.between(end, sent))];
      return this.#resumed(inlet, key, form, since.seq, stored, more && end < sent, join);
    };
  }

  /** The last `count` pushes that were sent. */
  async #last(inlet: HistoryInlet, key: ChannelKey, form: Form, count: number): Promise<Prepared> {
    const { ring, epoch } = inlet;
    const { floor } = ring;
    let older: Stored[] = [];
    if (ring.between(0, inlet.sent).length < count)
      for (let from = 1; from <= floor; ) {
        const { pushes, more } = await inlet.read(from, BATCH);
        for (const { seq, bytes } of pushes)
          if (seq <= floor) older.push({ seq, previous: older.at(-1)?.seq ?? 0, bytes });
        older = older.slice(-count);
        const end = pushes.at(-1)?.seq;
        if (!more || end === undefined) break;
        from = end + 1;
      }
    return () => {
      // The ring has given up what was not read.
      if (inlet.epoch !== epoch || (ring.floor > floor && older.length < count)) return undefined;
      const last = [...older, ...ring.between(floor, inlet.sent)].slice(-count);
      return this.#resumed(inlet, key, form, last[0]?.previous ?? inlet.sent, last, false, {});
    };
  }

  /** As many frames as fit into one answer. */
  #resumed(
    inlet: HistoryInlet,
    key: ChannelKey,
    form: Form,
    before: number,
    stored: readonly Stored[],
    isMoreStored: boolean,
    join: object | undefined,
  ): ResumeAnswer {
    const epoch = inlet.epoch!;
    const hasIds = WIRE_FORMS.find((each) => each.form === form)?.hasIds ?? false;
    const frames: string[] = [];
    let parts: MessagePart[] = [];
    let [bytes, total, end] = [0, 0, before];
    const flush = () => {
      if (parts.length > 0) frames.push(encodeText(key, parts, hasIds).toString());
      [parts, bytes] = [[], 0];
    };
    let i = 0;
    for (; i < stored.length && total < ANSWER_BYTES; i++) {
      const { seq, bytes: message } = stored[i]!;
      const push = decodePush(message);
      const size = push.items.bytes.length;
      if (parts.length > 0 && bytes + size > FRAME_BYTES) flush();
      parts.push({ ...partOf(push, push.items, 0), position: { seq, previous: end, epoch } });
      [bytes, total, end] = [bytes + size, total + size, seq];
    }
    flush();
    const more = i < stored.length || isMoreStored;
    // Up to here it has everything, or to where its own frames reach.
    const position = { epoch, seq: more ? end : Math.max(inlet.sent, end) };
    return { type: 'resumed', position, ...(join ? { recovered: true } : {}), frames, more };
  }

  /**
   * Whether limits cannot have removed a push after `seq`, although that itself is gone: what came after it is younger than
   * the time since the client was there, limits were not raised since, and the room is not full.
   */
  #lacksNone(inlet: HistoryInlet, seq: number, kept: number, away: number | undefined): boolean {
    const state = inlet.stream;
    if (state === undefined || away === undefined || seq > state.last) return false;
    return seq >= state.floor && kept < state.messages && away + COMPARE_MARGIN_MS < state.maxAge;
  }
}

function positionOf(inlet: HistoryInlet): Position {
  return { epoch: inlet.epoch!, seq: inlet.sent };
}
