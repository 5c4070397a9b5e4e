import type { Clock } from '@pushcluster/runtime/clock.ts';
import type { Batch } from './batch.ts';
import type { HubChannel } from './hubChannel.ts';

/**
 * Work on batches in one turn of the event loop, milliseconds. Between two turns the hub serves the bus, shards and
 * timers.
 */
const SLICE_MS = 8;
/** Bytes of batches that wait, at most. Beyond it batches are left out and counted, and clients are notified. */
const MAX_WAITING_BYTES = 67_108_864;
/** Bytes of memory that a batch takes beside its items, about. */
const BATCH_BYTES = 512;
/** Batches that were sent are removed from the queue in groups of this many. */
const STRIDE = 1_024;

export type OutboxOptions = {
  clock: Clock;
  /** Encodes a batch and hands it to the shards. */
  send: (channel: HubChannel, batch: Batch) => void;
  /** A batch of `items` items is left out, since too much waits. */
  overrun: (items: number) => void;
  /** `send`, or what was to follow, threw an error: the batches after it are still sent. */
  failed: (error: unknown) => void;
  maxWaiting?: number;
};

/** Batches between the windows and the shards. They are sent in the order in which they left, in slices of SLICE_MS. */
export class Outbox {
  readonly #options: OutboxOptions;
  #waiting: ({ channel: HubChannel; batch: Batch } | { run: () => void })[] = [];
  #next = 0;
  #bytes = 0;
  /**
   * Items that were left out, by channel. All that follows of such a channel is left out too, until clients are
   * notified in its place.
   */
  readonly #leftOut = new Map<HubChannel, number>();
  /** When the work of this turn began; undefined before the first batch of a turn. */
  #begun: number | undefined;

  constructor(options: OutboxOptions) {
    this.#options = options;
  }

  /** Batches that wait, and what is to follow on them. */
  get waiting(): number {
    return this.#waiting.length - this.#next;
  }

  /** Sends the batch now, or after those that wait. */
  put(channel: HubChannel, batch: Batch): void {
    if (this.waiting === 0 && !this.#late()) {
      this.#send(channel, batch);
      return;
    }
    const { maxWaiting = MAX_WAITING_BYTES } = this.#options;
    const leftOut = this.#leftOut.get(channel);
    if (leftOut !== undefined || this.#bytes > maxWaiting) {
      this.#options.overrun(batch.items);
      this.#leftOut.set(channel, (leftOut ?? 0) + lossesOf(batch));
      return;
    }
    this.#bytes += sizeOf(batch);
    this.#waiting.push({ channel, batch });
  }

  /** Calls `run` after all batches that wait now, and before those that are put later. */
  after(run: () => void): void {
    if (this.waiting === 0) this.#run(run);
    else this.#waiting.push({ run });
  }

  /** Whether the slice of this turn is over. */
  #late(): boolean {
    const now = this.#options.clock.now();
    if (this.#begun !== undefined) return now - this.#begun >= SLICE_MS;
    this.#begun = now;
    this.#options.clock.soon(() => this.#turn());
    return false;
  }

  #turn() {
    this.#begun = undefined;
    while (this.waiting > 0 && !this.#late()) {
      const next = this.#waiting[this.#next++]!;
      if ('run' in next) this.#run(next.run);
      else {
        this.#bytes -= sizeOf(next.batch);
        this.#send(next.channel, next.batch);
      }
      if (this.#next < STRIDE && this.waiting > 0) continue;
      this.#waiting.splice(0, this.#next);
      this.#next = 0;
    }
    if (this.waiting > 0) return;
    const { maxWaiting = MAX_WAITING_BYTES } = this.#options;
    for (const [channel, cut] of this.#leftOut) {
      // The others once these are told.
      if (this.#bytes > maxWaiting) return;
      this.#leftOut.delete(channel);
      this.put(channel, { parts: [], items: 0, cut, lost: { before: 0, after: 0 }, waited: 0 });
    }
  }

  #send(channel: HubChannel, batch: Batch) {
    // A channel may have been made anew under the same key: its listeners joined after these items.
    if (channel.ended) return;
    try {
      this.#options.send(channel, batch);
    } catch (error) {
      this.#options.failed(error);
    }
  }

  #run(run: () => void) {
    try {
      run();
    } catch (error) {
      this.#options.failed(error);
    }
  }
}

/** Items that a batch carries, and those whose loss it tells: of an interrupted history nobody knows how many. */
function lossesOf({ items, cut, lost, reset }: Batch): number {
  return items + cut + lost.before + lost.after + (reset ? 1 : 0);
}

function sizeOf({ parts }: Batch): number {
  let size = BATCH_BYTES;
  for (const part of parts) size += part.items.bytes.length;
  return size;
}
