import { type ChannelRules, rulesFor } from '@pushcluster/protocol/roomPolicies.ts';
import type { Settings } from '@pushcluster/protocol/settings.ts';
import { type ChannelKey, roomOf } from '../ipc/channelKey.ts';
import type { FrameCost } from './adaptiveWindow.ts';
import type { RoomHistory } from './history/roomHistory.ts';
import type { InletSubscription } from './inletSubscriber.ts';
import { MergeWindow } from './mergeWindow.ts';

/** One room, one user, or all, as the hub has it: the window in which its messages are merged. */
export class HubChannel {
  readonly key: ChannelKey;
  /** Generation of each shard's last `forms` message, by shard. */
  generations: number[] = [];
  rules: ChannelRules;
  /** Members at each shard, by shard, for shards that have many (ipc/audience.ts). Undefined while none has. */
  members: number[] | undefined;
  /** What a frame of it costs; undefined until it is needed after its members have changed. */
  frameCost: FrameCost | undefined;
  /** What its messages demanded: of FrameShares. */
  period = 0;
  demand = 0;
  /** Its subscription is in force. */
  subscribed = false;
  /** It is kept no longer: what still waits of it reaches nobody. */
  ended = false;
  /** Undefined for users, who share one, and for a room that waits for its subscription. */
  subscription: Pick<InletSubscription<HubChannel>, 'renew' | 'unsubscribe'> | undefined = undefined;
  /** Where the room is in its history; undefined if it has none. */
  history: RoomHistory | undefined = undefined;
  /** Cancels the end of a channel without listeners. */
  cancelEnd: (() => void) | undefined = undefined;
  /** When its window ends: the merger's WindowTimers keep it. */
  tick: number | undefined = undefined;
  /** Made with the first message: most rooms of a gateway with many are quiet. */
  #window: MergeWindow | undefined = undefined;
  /** Urgent flushes: how many in the second that began at `since`. */
  #urgent: { since: number; count: number } | undefined = undefined;

  constructor(key: ChannelKey, settings: Settings) {
    this.key = key;
    this.rules = rulesFor(this.room, settings);
  }

  /** Undefined for all and for users. */
  get room(): string | undefined {
    return roomOf(this.key);
  }

  get window(): MergeWindow {
    this.#window ??= new MergeWindow(this.rules);
    return this.#window;
  }

  /** Its window needs no timer. */
  get isIdle(): boolean {
    return this.#window?.idle ?? true;
  }

  configure(settings: Settings): void {
    const before = this.rules.history?.match;
    this.rules = rulesFor(this.room, settings);
    if (this.#window) this.#window.rules = this.rules;
    if (this.rules.history?.match !== before) this.subscription?.renew();
  }

  /** Takes one more urgent flush of the window. False if there were `rate` in this second already. */
  mayFlush(rate: number, now: number): boolean {
    if (!this.#urgent || now - this.#urgent.since >= 1_000) this.#urgent = { since: now, count: 0 };
    return ++this.#urgent.count <= rate;
  }
}
