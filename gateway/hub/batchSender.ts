import { type Position, resetFrame } from '@pushcluster/protocol/frames.ts';
import type { Items } from '@pushcluster/protocol/push.ts';
import { WIRE_FORMS } from '@pushcluster/protocol/wireForms.ts';
import { type ChannelKey, isUser, roomOf } from '../ipc/channelKey.ts';
import type { Frame, FramePlace } from '../ipc/frame.ts';
import type { GatewayMetrics } from '../metrics/gatewayMetrics.ts';
import type { Batch } from './batch.ts';
import { encodeFrames } from './encodeFrames.ts';
import { formsAt, formsOf, type ListenerTable } from './listenerTable.ts';
import type { ShardHandle } from './shardHandle.ts';

/** Pairs of (accepted at, items) that a batch carries for the latency histogram, at most. */
const MAX_AGES = 64;

export type BatchSenderOptions = {
  listeners: ListenerTable;
  shards: () => readonly ShardHandle[];
  metrics: Pick<GatewayMetrics, 'batchItems' | 'batchWindow'>;
};

/** Encodes batches, once for each wire form that has a listener, and sends them to the shards. */
export class BatchSender {
  readonly #options: BatchSenderOptions;
  #lastForUser: { publisher: string; first: number; items: Items; frames: Frame[] } | undefined;

  constructor(options: BatchSenderOptions) {
    this.#options = options;
  }

  /** Sends a batch to the shards that have a listener now. What it tells of losses goes in order with its frames. */
  send(key: ChannelKey, batch: Batch): void {
    const { listeners: table, shards, metrics } = this.#options;
    const listeners = table.of(key);
    if (listeners === undefined) return;
    if (batch.items > 0) {
      metrics.batchItems.count(batch.items);
      metrics.batchWindow.count(batch.waited / 1_000);
    }
    const forms = formsOf(listeners);
    const frames = batch.items > 0 ? this.#encode(key, batch, forms) : [];
    const ages = agesOf(batch);
    const place = placeOf(batch);
    for (const shard of shards()) {
      const wanted = formsAt(listeners, shard.index);
      if (wanted === 0) continue;
      if (batch.cut > 0) shard.sendMissed(key, batch.cut, 'overload');
      if (batch.lost.before > 0) shard.sendMissed(key, batch.lost.before, 'bus_gap');
      if (frames.length > 0) {
        const theirs = wanted === forms ? frames : frames.filter((frame) => frame.form & wanted);
        shard.sendFrames(key, batch.items, ages, theirs, place);
      }
      if (batch.lost.after > 0) shard.sendMissed(key, batch.lost.after, 'bus_gap');
      if (batch.reset) {
        const { epoch, seq } = batch.reset;
        shard.sendFrames(key, 0, [], resetFrames(key, batch.reset, wanted), { epoch, prev: seq, seq });
      }
    }
  }

  /** Users of one push get the same bytes, which name none of them: encoded once for all that follow each other. */
  #encode(key: ChannelKey, { parts }: Batch, forms: number): Frame[] {
    const [part] = parts;
    if (!isUser(key) || parts.length > 1 || !part) return encodeFrames(key, parts, forms);
    const last = this.#lastForUser;
    const same = last?.items === part.items && last.first === part.first && last.publisher === part.publisher;
    const known = same ? last.frames : [];
    const missing = known.reduce((left, { form }) => left & ~form, forms);
    const frames = missing === 0 ? known : [...known, ...encodeFrames(key, parts, missing)];
    this.#lastForUser = { publisher: part.publisher, first: part.first, items: part.items, frames };
    return frames.filter(({ form }) => form & forms);
  }
}

/** Where the frames are in the room's history. */
function placeOf({ parts }: Batch): FramePlace | undefined {
  const first = parts[0]?.position;
  const last = parts.at(-1)?.position;
  if (first === undefined || last?.epoch === undefined) return undefined;
  return { epoch: last.epoch, prev: first.previous, seq: last.seq };
}

/** RESET, in the forms of `mask` that understand it. */
function resetFrames(key: ChannelKey, reset: Position, mask: number): Frame[] {
  const bytes = Buffer.from(resetFrame(roomOf(key) ?? '', reset));
  const forms = WIRE_FORMS.filter(({ form, understandsControl }) => understandsControl && form & mask);
  return forms.map(({ form }) => ({ form, binary: false, bytes }));
}

/** When logic accepted a batch's items: neighbours of the same moment together, at most MAX_AGES pairs. */
function agesOf({ parts }: Batch): [number, number][] {
  const ages: [number, number][] = [];
  const span = Math.max(1, Math.ceil(parts.length / MAX_AGES));
  for (const [i, part] of parts.entries()) {
    const last = ages.at(-1);
    if (last && (last[0] === part.at || i % span !== 0)) last[1] += part.items.lengths.length;
    else ages.push([part.at, part.items.lengths.length]);
  }
  return ages;
}
