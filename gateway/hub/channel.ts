import type { Items, PushHeader } from '@pushcluster/protocol/push.ts';
import { type ChannelRules, rulesFor } from '@pushcluster/protocol/roomPolicies.ts';
import type { Settings } from '@pushcluster/protocol/settings.ts';
import type { Subscription } from '@pushcluster/runtime/bus/bus.ts';
import { type ChannelKey, roomOf } from '../ipc/channelKey.ts';
import { afterItems } from './chunk.ts';
import type { Publishers } from './publishers.ts';
import { type Batch, Window } from './window.ts';

/** One room, user, or all, as the hub orders it: who published what, and the window in which it is merged. */
export class HubChannel {
  readonly key: ChannelKey;
  readonly room: string | undefined;
  readonly window: Window;
  /** Forms that have a listener, by shard. */
  readonly masks: number[] = [];
  /** Generation of each shard's last `forms` message, by shard. */
  readonly generations: number[] = [];
  rules: ChannelRules;
  /** Rooms have one of their own; all and users share the hub's. */
  subscription: Subscription | undefined;
  subscribed = false;
  publishers: Publishers | undefined;
  /** Calls off the timer of the window. */
  cancelTimer: (() => void) | undefined;
  timerAt = 0;
  /** Calls off the end of an empty room. */
  cancelEnd: (() => void) | undefined;
  // Urgent flushes: how many in the second that began at `urgentSince`.
  #urgentSince = Number.NEGATIVE_INFINITY;
  #urgent = 0;

  constructor(key: ChannelKey, settings: Settings) {
    this.key = key;
    this.room = roomOf(key);
    this.rules = rulesFor(this.room, settings);
    this.window = new Window(this.rules);
  }

  configure(settings: Settings): void {
    this.rules = rulesFor(this.room, settings);
    this.window.rules = this.rules;
  }

  /** Forms that have a listener anywhere. */
  get mask(): number {
    let mask = 0;
    for (const part of this.masks) mask |= part ?? 0;
    return mask;
  }

  /** Takes items in; answers the batches that leave now. `repeats` items at the front came before. */
  offer(header: PushHeader, items: Items, repeats: number, urgent: boolean, now: number): Batch[] {
    const { publisher, counter, at, id } = header;
    const skipped = this.publishers?.takeSkipped(publisher);
    const chunk = { publisher, first: counter, at, items, id, origin: counter, skipped };
    return this.window.offer(repeats === 0 ? chunk : afterItems(chunk, repeats), now, urgent);
  }

  /** Whether one more urgent flush is allowed: at most `rate` a second. */
  mayHurry(rate: number, now: number): boolean {
    if (now - this.#urgentSince >= 1_000) {
      this.#urgentSince = now;
      this.#urgent = 0;
    }
    return ++this.#urgent <= rate;
  }
}
