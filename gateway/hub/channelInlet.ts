import { decodePush, type Push } from '@pushcluster/protocol/push.ts';
import type { Logger } from '@pushcluster/runtime/log.ts';
import type { GatewayMetrics } from '../metrics/gatewayMetrics.ts';
import type { HubChannel } from './hubChannel.ts';
import type { IgnoredMessages } from './ignoredMessages.ts';
import type { Inlet } from './inlet.ts';
import type { Merger } from './merger.ts';
import { partOf } from './messagePart.ts';
import { PublisherCounters } from './publisherCounters.ts';
import type { Mark, PublisherHeartbeats } from './publisherHeartbeats.ts';
import type { RepeatedPushes } from './repeatedPushes.ts';
import { Resequencer, type ResequencerOptions } from './resequencer.ts';

export type ChannelInletOptions = ResequencerOptions & {
  heartbeats: PublisherHeartbeats;
  retries: RepeatedPushes;
  merger: Merger;
  ignored: IgnoredMessages;
  metrics: Pick<GatewayMetrics, 'gaps' | 'late'>;
  log: Logger;
};

/** What puts the messages of a channel in order. */
type Ordered = { publishers: PublisherCounters; resequencer: Resequencer<Push> };

/**
 * The inlet of a room, or of all: puts messages in order and finds losses by the publishers' counters, drops repeats, and
 * passes on what is left.
 */
export class ChannelInlet implements Inlet {
  readonly #channel: HubChannel;
  readonly #options: ChannelInletOptions;
  /** When the subscription came into force, until the first message comes. */
  #mark: Mark | undefined = undefined;
  /** Made with the first message: most rooms of a gateway with many are quiet. */
  #ordered: Ordered | undefined = undefined;

  constructor(channel: HubChannel, options: ChannelInletOptions) {
    this.#channel = channel;
    this.#options = options;
  }

  accept(bytes: Uint8Array): void {
    const push = this.#options.ignored.decode(bytes, decodePush);
    if (!push) return;
    this.#ordered ??= this.#order();
    this.#ordered.resequencer.receive(push, push.items.lengths.length, bytes.length);
  }

  subscribed(): void {
    if (this.#ordered) this.#ordered.publishers.inForce();
    else this.#mark ??= this.#options.heartbeats.mark();
  }

  close(): void {
    this.#ordered?.resequencer.close();
    this.#ordered?.publishers.close();
    this.#options.heartbeats.forget(this.#mark);
  }

  #order(): Ordered {
    const publishers = new PublisherCounters(this.#options.heartbeats, this.#mark);
    const take = (push: Push, count: number) => this.#take(publishers, push, count);
    return { publishers, resequencer: new Resequencer(publishers, this.#options, take) };
  }

  #take(publishers: PublisherCounters, push: Push, count: number): void {
    const { retries, merger } = this.#options;
    const { gap, repeats } = publishers.accept(push, count);
    if (gap > 0) this.#lost(gap);
    if (repeats === count) return;
    if (retries.repeated(this.#channel.key, push.id)) {
      publishers.skip(push.publisher, push.counter + repeats, count - repeats);
      return;
    }
    const skipped = publishers.takeSkipped(push.publisher);
    merger.merge(this.#channel, partOf(push, push.items, repeats, skipped), push.urgent);
  }

  #lost(items: number) {
    const { metrics, log, merger } = this.#options;
    metrics.gaps.inc(items);
    log.warn({ channel: this.#channel.room ?? 'all', items }, 'items were lost on the bus');
    merger.lose(this.#channel, items);
  }
}
