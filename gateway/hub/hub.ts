import type { Histories } from '@pushcluster/protocol/control.ts';
import { decodePush } from '@pushcluster/protocol/push.ts';
import { earlierThan } from '@pushcluster/protocol/roomPolicies.ts';
import type { Settings } from '@pushcluster/protocol/settings.ts';
import { Subjects } from '@pushcluster/protocol/subjects.ts';
import { type Bus, type BusEvent, BusUnavailable, BusUnconfirmed } from '@pushcluster/runtime/bus/bus.ts';
import type { Clock } from '@pushcluster/runtime/clock.ts';
import { HistoryMissing, type HistoryStore } from '@pushcluster/runtime/history/historyStore.ts';
import type { Logger } from '@pushcluster/runtime/log.ts';
import { type ChannelKey, isUser, userOf } from '../ipc/channelKey.ts';
import type { ShardMessage } from '../ipc/messages.ts';
import type { GatewayMetrics } from '../metrics/gatewayMetrics.ts';
import { Answers } from './answers.ts';
import { BatchSender } from './batchSender.ts';
import { ChannelInlet } from './channelInlet.ts';
import { ChannelLifecycle } from './channelLifecycle.ts';
import { Commands } from './commands.ts';
import type { ExceptionGuard } from './exceptionGuard.ts';
import type { Load } from './frameBudget.ts';
import { HistoryInlet } from './history/historyInlet.ts';
import { HistoryMonitors } from './history/historyMonitors.ts';
import { Resumes } from './history/resumes.ts';
import { RingBudget } from './history/roomRing.ts';
import type { HubChannel } from './hubChannel.ts';
import { IgnoredMessages } from './ignoredMessages.ts';
import { InletSubscriber } from './inletSubscriber.ts';
import { ListenerTable } from './listenerTable.ts';
import { Merger } from './merger.ts';
import { Outbox } from './outbox.ts';
import { PublisherHeartbeats } from './publisherHeartbeats.ts';
import { publishJson } from './publishJson.ts';
import { RepeatedPushes } from './repeatedPushes.ts';
import { WaitingBytes } from './resequencer.ts';
import type { ShardHandle } from './shardHandle.ts';
import type { SlicedWork } from './slicedWork.ts';
import { UserInlet } from './userInlet.ts';
import { UserSessions } from './userSessions.ts';
import { Windows } from './windows.ts';

export type HubOptions = {
  gateway: string;
  bus: Bus;
  /** Where rooms with a history are stored; absent: no room has one. */
  history?: HistoryStore | undefined;
  settings: Settings;
  clock: Clock;
  log: Logger;
  metrics: GatewayMetrics;
  guard: ExceptionGuard;
  /** What is about many channels is done in its slices. */
  work: SlicedWork;
  /** Cores that the processes of the gateway share. */
  cores: number;
  /** Gateways that are there, this one included. */
  gateways: () => number;
  /** Channels without listeners kept at most. Default: 20,000. */
  maxEmpty?: number;
};

/**
 * The hub orders what the bus brings and passes it to the shards: inlet (order, losses, repeats) → merger (windows) →
 * outbox (slices of work) → sender (encoding) → shards. Beside that way are the life of channels, commands and
 * questions, and the sessions of users.
 */
export class Hub {
  readonly #options: HubOptions;
  readonly #heartbeats: PublisherHeartbeats;
  readonly #listeners = new ListenerTable();
  readonly #merger: Merger;
  readonly #windows: Windows;
  readonly #channels: ChannelLifecycle;
  readonly #answers: Answers;
  readonly #sessions: UserSessions;
  readonly #histories: HistoryMonitors | undefined;
  readonly #resumes: Resumes;
  readonly #ringBudget = new RingBudget();
  #shards: readonly ShardHandle[] = [];
  #settings: Settings;
  #ready = false;

  constructor(options: HubOptions) {
    const { gateway, bus, history, settings, clock, log, metrics, guard, cores, gateways, maxEmpty } = options;
    this.#options = options;
    this.#settings = settings;
    const subjects = new Subjects(settings.bus.prefix);
    const listeners = this.#listeners;
    const shards = () => this.#shards;
    const ignored = new IgnoredMessages(log, metrics);
    const subscriber = new InletSubscriber(bus, guard);

    const sender = new BatchSender({ listeners, shards, metrics });
    const outbox = new Outbox({
      clock,
      send: (channel, batch) => {
        sender.send(channel.key, batch);
        const position = batch.reset ?? batch.parts.at(-1)?.position;
        if (position) channel.history?.framesSent(position);
      },
      overrun: (items) => metrics.hubOverrun.inc(items),
      failed: (error) => guard.caught('bus', error),
    });
    this.#windows = new Windows({ listeners, shards: () => this.#shards.length, cores, metric: metrics.mergeWindow });
    const merger = new Merger({
      clock,
      windows: this.#windows,
      urgentRate: () => this.#settings.gateway.batching.urgentRate,
      put: (channel, batch) => outbox.put(channel, batch),
    });
    this.#merger = merger;

    const heartbeats = new PublisherHeartbeats(() => clock.now());
    this.#heartbeats = heartbeats;
    const beats = subscriber.listen(subjects.beat, (bytes) => {
      const beat = ignored.decode(bytes, decodePush);
      if (beat) heartbeats.receive(beat.publisher, beat.counter);
    });
    beats.ready.then(() => heartbeats.listening(true));
    bus.onEvent((event) => this.#busChanged(event));

    const budget = this.#ringBudget;
    const historyFailed = (error: unknown) => {
      const isAway =
        error instanceof BusUnavailable || error instanceof BusUnconfirmed || error instanceof HistoryMissing;
      if (!isAway) guard.caught('bus', error);
    };
    this.#histories =
      history &&
      new HistoryMonitors({
        ...{ store: history, bus, clock, metrics, failed: historyFailed },
        earlier: (match) => earlierThan(match, this.#settings.rooms),
      });
    const inlets = {
      ...{ heartbeats, merger, ignored, metrics, log, clock, work: options.work },
      retries: new RepeatedPushes({ clock, metrics }),
      waiting: new WaitingBytes(),
      failed: (error: unknown) => guard.caught('bus', error),
    };
    this.#channels = new ChannelLifecycle({
      settings,
      subjects,
      clock,
      listeners,
      shards,
      subscriber,
      inlet: (channel) => {
        const { room, rules } = channel;
        const monitor = rules.history && this.#histories?.of(rules.history.match);
        if (room === undefined || !monitor) return new ChannelInlet(channel, inlets);
        const inlet = new HistoryInlet(channel, room, { ...inlets, monitor, budget, failed: historyFailed });
        channel.history = inlet;
        return inlet;
      },
      ended: (channel) => merger.cancel(channel),
      metrics,
      maxEmpty,
    });
    this.#resumes = new Resumes({
      channel: (key) => this.#channels.get(key),
      clock,
      ignored,
      metrics,
      failed: historyFailed,
    });
    const users = new UserInlet({ ...inlets, channelOf: (key) => this.#channels.ofUser(key) });
    subscriber.subscribe(subjects.user, undefined, { inlet: () => users });

    this.#answers = new Answers({
      ...{ gateway, bus, clock, guard, metrics, shards, gateways },
      rooms: () => this.rooms,
      histories: () => this.histories,
    });
    const commands = new Commands({
      shards,
      afterItems: (key, run) => {
        const channel = this.#channels.get(key);
        if (channel && !channel.isIdle) merger.flush(channel);
        outbox.after(run);
      },
      answer: (question) => this.#answers.answer(question),
      ignored,
    });
    subscriber.listen(subjects.command, (bytes) => commands.receive(bytes));

    this.#sessions = new UserSessions({
      gateway,
      clock,
      shards,
      publish: (message) => publishJson(bus, guard, subjects.session, message),
    });
    subscriber.listen(subjects.session, (bytes) => this.#sessions.receive(bytes));

    this.#channels.allSubscribed.then(() => {
      this.#ready = true;
    });
  }

  /** True from the first connection to the bus on. */
  get ready(): boolean {
    return this.#ready;
  }

  /** Rooms that have a member on this gateway. */
  get rooms(): number {
    return this.#listeners.rooms;
  }

  /**
   * Rooms and users that are kept: those with a member, those without one for a moment, and those that wait to
   * subscribe.
   */
  get channels(): { kept: number; empty: number; waiting: number } {
    return this.#channels.counts;
  }

  /** Bytes of messages of rooms with history that are kept for clients that come back. */
  get ringBytes(): number {
    return this.#ringBudget.bytes;
  }

  /** How far this gateway has followed the histories of rooms: by epoch, the largest sequence number. */
  get histories(): Histories {
    return this.#histories?.reached ?? {};
  }

  /** CPU time that the frames of all channels may take of the busiest core, cores. */
  get frameBudget(): number {
    return this.#windows.budget;
  }

  /** The load of the gateway in the last second, which decides how short merge windows may be. */
  measured(load: Load): void {
    this.#windows.measured(load);
  }

  attach(shards: readonly ShardHandle[]): void {
    this.#shards = shards;
  }

  configure(settings: Settings): void {
    this.#settings = settings;
    this.#channels.configure(settings);
    for (const shard of this.#shards) shard.configure(settings);
    const policies = settings.rooms.filter((policy) => policy.history !== undefined);
    this.#histories?.keep(new Set(policies.map(({ match }) => match)));
    this.#options.work.start(this.#channelsUnder(settings), (channel) => {
      channel.configure(settings);
      if (!channel.isIdle) this.#merger.schedule(channel);
    });
  }

  /** All channels, unless the settings change again. */
  *#channelsUnder(settings: Settings): Generator<HubChannel> {
    for (const channel of this.#channels) {
      if (settings !== this.#settings) return;
      yield channel;
    }
  }

  /** A message of a shard, of those that are about channels, users or questions. */
  receive(shard: ShardHandle, message: ShardMessage): void {
    switch (message.type) {
      case 'forms': {
        const { key, mask, generation } = message;
        // What the former process of the shard told of it.
        if (this.#listeners.isGone(key, shard.index)) this.#channels.audienceChanged(shard, key, 0);
        this.#listeners.set(key, shard.index, mask);
        if (mask === 0) this.#endSession(key);
        this.#channels.formsChanged(shard, key, mask, generation);
        return;
      }
      case 'audience':
        this.#channels.audienceChanged(shard, message.key, message.members);
        return;
      case 'resume':
        void this.#resumes.resume(shard, message.key, message.ask, message.form, message.from);
        return;
      case 'verify':
        this.#verify(shard, message.receipt);
        return;
      case 'answer':
        this.#answers.receive(message.answer);
        return;
      case 'session':
        if (!this.#sessions.opened(shard, message))
          this.#options.log.warn(
            { user: message.user },
            'the bus is unavailable: older sessions of the user on other gateways are closed once it is back',
          );
        return;
    }
  }

  /** A shard's process has ended, and its connections with it. The next one may start before all of them are forgotten. */
  shardDied(shard: ShardHandle): void {
    this.#sessions.shardDied(shard);
    this.#options.work.start(this.#listeners.removeShard(shard.index), (key) => {
      if (key === undefined) return;
      if (isUser(key)) this.#sessions.forgetIfLost(userOf(key));
      this.#channels.shardGone(shard, key);
    });
  }

  /** The last session of a user on this gateway may have ended. */
  #endSession(key: ChannelKey) {
    if (isUser(key) && !this.#listeners.has(key)) this.#sessions.ended(userOf(key));
  }

  #busChanged({ type }: BusEvent) {
    const connected = type === 'connected';
    this.#heartbeats.listening(connected);
    for (const shard of this.#shards) shard.send({ type: 'bus', connected });
    if (connected) this.#sessions.repeat();
  }

  /** A JOIN may be answered OK only if the bus was there after it: nothing else notices a cut network for seconds. */
  #verify(shard: ShardHandle, receipt: number) {
    const { bus, clock } = this.#options;
    const verified = () => shard.send({ type: 'verified', receipt });
    bus.flush().then(verified, () => {
      // The flush also fails if the server refuses a message of ours, and then the bus is there. If the connection is
      // lost, `bus.connected` says so by the next turn of the loop.
      clock.after(0, () => {
        if (bus.connected) verified();
      });
    });
  }
}
