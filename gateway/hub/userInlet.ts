import { decodeUserPush, type UserPush } from '@pushcluster/protocol/push.ts';
import { type ChannelKey, userKey } from '../ipc/channelKey.ts';
import type { GatewayMetrics } from '../metrics/gatewayMetrics.ts';
import type { HubChannel } from './hubChannel.ts';
import type { IgnoredMessages } from './ignoredMessages.ts';
import type { Inlet } from './inlet.ts';
import type { Merger } from './merger.ts';
import { partOf } from './messagePart.ts';
import { PublisherCounters } from './publisherCounters.ts';
import type { PublisherHeartbeats } from './publisherHeartbeats.ts';
import type { RepeatedPushes } from './repeatedPushes.ts';
import { Resequencer, type ResequencerOptions } from './resequencer.ts';

export type UserInletOptions = ResequencerOptions & {
  heartbeats: PublisherHeartbeats;
  retries: RepeatedPushes;
  merger: Merger;
  ignored: IgnoredMessages;
  metrics: Pick<GatewayMetrics, 'gaps' | 'late'>;
  /** The channel of a user; undefined if the user has no connection on this gateway. */
  channelOf: (key: ChannelKey) => HubChannel | undefined;
};

/**
 * The inlet of pushes to users. Every gateway gets all of them, and passes on those to users who are connected to it:
 * there is no registry of users that would have to be kept true.
 */
export class UserInlet implements Inlet {
  readonly #options: UserInletOptions;
  readonly #publishers: PublisherCounters;
  readonly #resequencer: Resequencer<UserPush>;

  constructor(options: UserInletOptions) {
    this.#options = options;
    this.#publishers = new PublisherCounters(options.heartbeats);
    this.#resequencer = new Resequencer(this.#publishers, options, (push, total) => this.#take(push, total));
  }

  accept(bytes: Uint8Array): void {
    const push = this.#options.ignored.decode(bytes, decodeUserPush);
    if (!push) return;
    const total = push.entries.reduce((sum, { items }) => sum + items.lengths.length, 0);
    this.#resequencer.receive(push, total, bytes.length);
  }

  subscribed(): void {
    this.#publishers.inForce();
  }

  close(): void {
    this.#resequencer.close();
    this.#publishers.close();
  }

  #take(push: UserPush, total: number): void {
    const { retries, merger, metrics, channelOf } = this.#options;
    const counts = push.entries.map((entry) => entry.items.lengths.length);
    const { gap, repeats } = this.#publishers.accept(push, total);
    // Nobody here can know to whom the lost items were pushed: they are counted, and no client is notified.
    if (gap > 0) metrics.gaps.inc(gap);
    let before = 0;
    for (const [i, entry] of push.entries.entries()) {
      const count = counts[i] ?? 0;
      const skip = Math.min(count, Math.max(0, repeats - before));
      const header = { ...push, counter: push.counter + before, id: entry.id };
      before += count;
      if (skip === count) continue;
      if (entry.id !== '' && retries.repeated(JSON.stringify(entry.users), entry.id)) continue;
      for (const user of entry.users) {
        const channel = channelOf(userKey(user));
        if (channel) merger.merge(channel, partOf(header, entry.items, skip), entry.urgent);
      }
    }
  }
}
