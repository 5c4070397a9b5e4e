import { FEW_MEMBERS } from '../ipc/audience.ts';
import type { BucketHistogram } from '../metrics/bucketHistogram.ts';
import { adaptiveWindow, type FrameCost, frameCost } from './adaptiveWindow.ts';
import { FrameBudget, type Load } from './frameBudget.ts';
import { FrameShares } from './frameShares.ts';
import type { HubChannel } from './hubChannel.ts';
import { formsAt, type ListenerTable } from './listenerTable.ts';

export type WindowsOptions = {
  listeners: Pick<ListenerTable, 'of'>;
  /** Number of shards. */
  shards: () => number;
  /** Cores that the gateway's processes share. */
  cores: number;
  /** Takes the lengths of windows, seconds. */
  metric: Pick<BucketHistogram, 'count'>;
};

/** How long the merge windows of all channels are. */
export class Windows {
  readonly #options: WindowsOptions;
  readonly #budget = new FrameBudget();
  /** What a frame of a channel with few members costs, by how many shards have some: one object for all such channels. */
  readonly #costsOfFew: FrameCost[] = [];
  readonly #shares = new FrameShares(this.#budget.cores);

  constructor(options: WindowsOptions) {
    this.#options = options;
  }

  /** CPU time that frames may take of the busiest core, cores. */
  get budget(): number {
    return this.#budget.cores;
  }

  /** The load of the last second. */
  measured(load: Load): void {
    this.#shares.budget = this.#budget.read(load);
  }

  /** A message has come to the channel. If nothing waits in its window, the length of the next one is decided. */
  messageCame(channel: HubChannel, now: number): void {
    const { rules, window } = channel;
    if (!rules.adaptive) {
      window.length = rules.maxDelay;
      return;
    }
    channel.frameCost ??= this.#costOf(channel);
    this.#shares.add(channel, channel.frameCost.busiest, now);
    if (!window.idle) return;
    window.length = adaptiveWindow(rules, channel.frameCost, this.#shares.share);
    this.#options.metric.count(window.length / 1_000);
  }

  #costOf({ key, members }: HubChannel): FrameCost {
    const { listeners, shards, cores } = this.#options;
    const masks = listeners.of(key) ?? 0;
    let withMembers = 0;
    let count = 0;
    for (let shard = 0; shard < shards(); shard++) {
      if (formsAt(masks, shard) === 0) continue;
      withMembers++;
      count += members?.[shard] || FEW_MEMBERS;
    }
    const known = this.#costsOfFew[withMembers];
    const areFew = count === withMembers * FEW_MEMBERS;
    if (known && areFew) return known;
    const cost = frameCost(count, withMembers, { shards: shards(), cores });
    if (areFew) this.#costsOfFew[withMembers] = cost;
    return cost;
  }
}
