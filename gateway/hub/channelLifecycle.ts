import type { Settings } from '@pushcluster/protocol/settings.ts';
import type { Subjects } from '@pushcluster/protocol/subjects.ts';
import type { Clock } from '@pushcluster/runtime/clock.ts';
import { ALL, type ChannelKey, isUser } from '../ipc/channelKey.ts';
import type { GatewayMetrics } from '../metrics/gatewayMetrics.ts';
import { HubChannel } from './hubChannel.ts';
import type { Inlet } from './inlet.ts';
import type { InletOwner, InletSubscriber } from './inletSubscriber.ts';
import { formsAt, type ListenerTable } from './listenerTable.ts';
import type { ShardHandle } from './shardHandle.ts';
import { SubscriptionQueue } from './subscriptionQueue.ts';

/**
 * A channel without listeners keeps its subscription this long, milliseconds: clients come back, and a flapping JOIN
 * costs nothing.
 */
const EMPTY_MS = 5_000;
/** Channels without listeners kept at most: beyond, the one that has been without for longest ends at once. */
const MAX_EMPTY = 20_000;

export type ChannelLifecycleOptions = {
  settings: Settings;
  subjects: Subjects;
  clock: Clock;
  listeners: ListenerTable;
  shards: () => readonly ShardHandle[];
  subscriber: InletSubscriber;
  /** The inlet of a room, or of all. */
  inlet: (channel: HubChannel) => Inlet;
  /** The channel has ended: nothing of it is sent any more. */
  ended: (channel: HubChannel) => void;
  metrics: Pick<GatewayMetrics, 'roomSubscriptions' | 'roomsEndedEarly'>;
  /** Channels without listeners kept at most. Default: 20,000. */
  maxEmpty?: number | undefined;
};

/**
 * The life of channels. A room's begins when a shard has its first listener, then waits in the SubscriptionQueue, is
 * subscribed, and ends some time after its last listener has left. A user's begins with the first push to a user who is
 * connected: there may be a user for each connection. The channel `all` never ends.
 */
export class ChannelLifecycle {
  readonly all: HubChannel;
  readonly #options: ChannelLifecycleOptions;
  readonly #channels = new Map<ChannelKey, HubChannel>();
  /** Channels without listeners, in the order in which they lost their last one. */
  readonly #empty = new Set<HubChannel>();
  readonly #queue: SubscriptionQueue;
  readonly #owner: InletOwner<HubChannel>;
  #settings: Settings;
  #allSubscribed: Promise<void>;

  constructor(options: ChannelLifecycleOptions) {
    const { settings, clock, subjects, inlet } = options;
    this.#options = options;
    this.#settings = settings;
    this.#owner = { inlet, changed: (inForce, channel) => this.#subscriptionChanged(inForce, channel) };
    this.#queue = new SubscriptionQueue(clock, (channel) => {
      if (channel.room !== undefined) this.#subscribe(channel, subjects.room(channel.room));
    });
    this.all = new HubChannel(ALL, settings);
    this.#channels.set(ALL, this.all);
    this.#allSubscribed = this.#subscribe(this.all, subjects.all);
  }

  /** Resolves when the subscription of `all` is in force for the first time. */
  get allSubscribed(): Promise<void> {
    return this.#allSubscribed;
  }

  /** Channels that are kept; of those, channels without a listener, and rooms that wait to be subscribed for. */
  get counts(): { kept: number; empty: number; waiting: number } {
    return { kept: this.#channels.size, empty: this.#empty.size, waiting: this.#queue.waiting };
  }

  get(key: ChannelKey): HubChannel | undefined {
    return this.#channels.get(key);
  }

  /** For channels that are made from now on. */
  configure(settings: Settings): void {
    this.#settings = settings;
  }

  [Symbol.iterator](): Iterator<HubChannel> {
    return this.#channels.values();
  }

  /** The forms that have a listener on `shard` have changed to `mask`, as ListenerTable has it already. */
  formsChanged(shard: ShardHandle, key: ChannelKey, mask: number, generation: number): void {
    let channel = this.#channels.get(key);
    if (!channel) {
      if (mask === 0) return;
      if (isUser(key)) {
        shard.send({ type: 'subscribed', key, mask, generation });
        return;
      }
      channel = new HubChannel(key, this.#settings);
      // As long as it will be: an array that grows has room for 17, in each of maybe 100,000 rooms.
      channel.generations = new Array<number>(this.#options.shards().length).fill(0);
      this.#channels.set(key, channel);
      this.#queue.add(channel);
    }
    channel.generations[shard.index] = generation;
    channel.frameCost = undefined;
    if (mask === 0) {
      this.#endIfEmpty(channel);
      return;
    }
    channel.cancelEnd?.();
    channel.cancelEnd = undefined;
    this.#empty.delete(channel);
    if (channel.subscribed) shard.send({ type: 'subscribed', key, mask, generation });
  }

  /** The number of members at a shard, if it is many; 0: few. Nobody counts the connections of a user. */
  audienceChanged(shard: ShardHandle, key: ChannelKey, members: number): void {
    const channel = this.#channels.get(key);
    if (!channel) return;
    channel.members ??= [];
    channel.members[shard.index] = members;
    channel.frameCost = undefined;
  }

  /** A shard that had listeners is gone, as ListenerTable has it already. */
  shardGone(shard: ShardHandle, key: ChannelKey): void {
    const channel = this.#channels.get(key);
    if (!channel) return;
    this.audienceChanged(shard, key, 0);
    this.#endIfEmpty(channel);
  }

  /** The channel of a user, for a push; undefined if the user is not connected to this gateway. */
  ofUser(key: ChannelKey): HubChannel | undefined {
    if (!this.#options.listeners.has(key)) return undefined;
    const existing = this.#channels.get(key);
    if (existing) return existing;
    const channel = new HubChannel(key, this.#settings);
    channel.subscribed = true;
    this.#channels.set(key, channel);
    return channel;
  }

  #subscribe(channel: HubChannel, subject: string): Promise<void> {
    const { subscriber, metrics } = this.#options;
    if (channel.room !== undefined) metrics.roomSubscriptions.inc();
    const subscription = subscriber.subscribe(subject, channel, this.#owner);
    channel.subscription = subscription;
    return subscription.ready;
  }

  #subscriptionChanged(inForce: boolean, channel: HubChannel) {
    const { shards, listeners: table } = this.#options;
    const { key } = channel;
    channel.subscribed = inForce;
    const listeners = table.of(key);
    if (listeners === undefined) return;
    for (const shard of shards()) {
      const mask = table.isGone(key, shard.index) ? 0 : formsAt(listeners, shard.index);
      if (mask === 0) continue;
      const generation = channel.generations[shard.index] ?? 0;
      shard.send(inForce ? { type: 'subscribed', key, mask, generation } : { type: 'subscriptionRefused', key });
    }
  }

  #endIfEmpty(channel: HubChannel) {
    const { clock, listeners, metrics, maxEmpty = MAX_EMPTY } = this.#options;
    if (channel === this.all || listeners.has(channel.key) || channel.cancelEnd) return;
    if (this.#queue.remove(channel)) {
      this.#end(channel);
      return;
    }
    channel.cancelEnd = clock.after(EMPTY_MS, () => this.#end(channel));
    this.#empty.add(channel);
    if (this.#empty.size <= maxEmpty) return;
    const [first] = this.#empty;
    if (!first) return;
    metrics.roomsEndedEarly.inc();
    this.#end(first);
  }

  #end(channel: HubChannel) {
    channel.ended = true;
    channel.cancelEnd?.();
    channel.cancelEnd = undefined;
    channel.subscription?.unsubscribe();
    this.#empty.delete(channel);
    this.#channels.delete(channel.key);
    this.#options.ended(channel);
  }
}
