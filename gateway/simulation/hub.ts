import type { LagReason } from '@pushcluster/protocol/frames.ts';
import { Settings } from '@pushcluster/protocol/settings.ts';
import type { Clock } from '../hub/clock.ts';
import type { HubLink } from '../hub/hub.ts';
import type { ChannelKey } from '../ipc/channelKey.ts';
import { newCounts, type ShardCounts } from '../ipc/counts.ts';
import type { Frame } from '../ipc/frame.ts';
import type { HubMessage } from '../ipc/messages.ts';

/** Time that a test lets pass, and the hub's timers in it. */
export class FakeClock implements Clock {
  #now = 0;
  #timers: { at: number; run: () => void }[] = [];
  #soon: (() => void)[] = [];

  now(): number {
    return this.#now;
  }

  after(ms: number, run: () => void): () => void {
    const timer = { at: this.#now + ms, run };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  soon(run: () => void): void {
    this.#soon.push(run);
  }

  /** Work takes `ms`: no timer runs meanwhile. */
  pass(ms: number): void {
    this.#now += ms;
  }

  /** The loop's next turn; false where nothing was to be done in it. */
  turn(): boolean {
    const runs = this.#soon.splice(0);
    for (const run of runs) run();
    return runs.length > 0;
  }

  get timers(): number {
    return this.#timers.length;
  }

  /** Runs, in their order, the timers that come due in the next `ms`, and the turns between them. */
  advance(ms: number): void {
    const until = this.#now + ms;
    for (;;) {
      while (this.turn());
      const [next] = this.#timers.filter(({ at }) => at <= until).sort((a, b) => a.at - b.at);
      if (!next) break;
      this.#timers = this.#timers.filter((other) => other !== next);
      this.#now = Math.max(this.#now, next.at);
      next.run();
    }
    this.#now = Math.max(this.#now, until);
  }
}

export type SentFrames = {
  key: ChannelKey;
  items: number;
  ages: readonly [number, number][];
  frames: readonly Frame[];
};

/** A shard as the hub sees it, which keeps what it is told. */
export class FakeLink implements HubLink {
  readonly index: number;
  readonly masks = new Map<ChannelKey, number>();
  listening = true;
  counts: ShardCounts | undefined = newCounts();
  readonly messages: HubMessage[] = [];
  readonly batches: SentFrames[] = [];
  readonly missed: { key: ChannelKey; items: number; reason: LagReason }[] = [];
  readonly configured: Settings[] = [];
  /** Frames and news of missed items in the order that they were sent. */
  readonly order: ('frames' | 'missed')[] = [];
  /** Called at each batch. */
  onFrames: () => void = () => {};

  constructor(index: number) {
    this.index = index;
  }

  configure(settings: Settings): void {
    this.configured.push(settings);
  }

  send(message: HubMessage): void {
    this.messages.push(message);
  }

  sendFrames(key: ChannelKey, items: number, ages: readonly [number, number][], frames: readonly Frame[]): void {
    this.onFrames();
    this.batches.push({ key, items, ages, frames });
    this.order.push('frames');
  }

  sendMissed(key: ChannelKey, items: number, reason: LagReason): void {
    this.missed.push({ key, items, reason });
    this.order.push('missed');
  }

  /** The messages of one type. */
  told<T extends HubMessage['type']>(type: T): Extract<HubMessage, { type: T }>[] {
    return this.messages.filter((message): message is Extract<HubMessage, { type: T }> => message.type === type);
  }
}

/** Settings as a file says them, with defaults for the rest. */
export function settingsWith(input: object = {}): Settings {
  return Settings.parse(input);
}
