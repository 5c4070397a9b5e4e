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
  /** Undefined for all and for users. */
  readonly room: string | undefined;
  readonly window: MergeWindow;
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
  subscription: InletSubscription | undefined = undefined;
  /** Where the room is in its history; undefined if it has none. */
  history: RoomHistory | undefined = undefined;
  /** Where its messages enter. It is renewed if what it was made for has changed. */
  inlet: { renew(): void } | undefined = undefined;
  /** Cancels the end of a channel without listeners. */
  cancelEnd: (() => void) | undefined = undefined;
  /** When its window ends: the merger's WindowTimers keep it. */
  tick: number | undefined = undefined;
  // Urgent flushes: how many in the second that began at `urgentSince`.
  #urgentSince = Number.NEGATIVE_INFINITY;
  #urgent = 0;

  constructor(key: ChannelKey, settings: Settings) {
    this.key = key;
    this.room = roomOf(key);
    this.rules = rulesFor(this.room, settings);
    this.window = new MergeWindow(this.rules);
  }

  configure(settings: Settings): void {
    const before = this.rules.history?.match;
    this.rules = rulesFor(this.room, settings);
    this.window.rules = this.rules;
    if (this.rules.history?.match !== before) this.inlet?.renew();
  }

  /** Takes one more urgent flush of the window. False if there were `rate` in this second already. */
  mayFlush(rate: number, now: number): boolean {
    if (now - this.#urgentSince >= 1_000) {
      this.#urgentSince = now;
      this.#urgent = 0;
    }
    return ++this.#urgent <= rate;
  }
}
