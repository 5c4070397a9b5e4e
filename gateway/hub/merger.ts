import type { Position } from '@pushcluster/protocol/frames.ts';
import type { Clock } from '@pushcluster/runtime/clock.ts';
import type { Batch } from './batch.ts';
import type { HubChannel } from './hubChannel.ts';
import type { MessagePart } from './messagePart.ts';
import type { Windows } from './windows.ts';
import { WindowTimers } from './windowTimers.ts';

export type MergerOptions = {
  clock: Clock;
  /** Urgent messages that may flush a channel's window, per second and channel: gateway.batching.urgentRate. */
  urgentRate: () => number;
  /** Decides how long the channel's next window is, for each message that comes. */
  windows: Pick<Windows, 'messageCame'>;
  /** Takes the batches of a channel, in order. */
  put: (channel: HubChannel, batch: Batch) => void;
};

/** Merges messages into batches: the windows of all channels, and their timers. */
export class Merger {
  readonly #options: MergerOptions;
  readonly #timers: WindowTimers<HubChannel>;

  constructor(options: MergerOptions) {
    this.#options = options;
    this.#timers = new WindowTimers(options.clock, (channel) => this.#flush(channel));
  }

  /**
   * Takes items into the channel's window. What is urgent leaves at once with all that waits, up to the urgent rate.
   */
  merge(channel: HubChannel, part: MessagePart, urgent: boolean): void {
    const { clock, urgentRate, windows, put } = this.#options;
    const now = clock.now();
    windows.messageCame(channel, now);
    const flush = urgent && channel.mayFlush(urgentRate(), now);
    for (const batch of channel.window.offer(part, now, flush)) put(channel, batch);
    this.schedule(channel);
  }

  /** Items were lost on the bus, after those that the channel has. */
  lose(channel: HubChannel, items: number): void {
    channel.window.lose(items);
    // What revealed the loss may itself be a repeat, and reach no window.
    this.schedule(channel);
  }

  /** What is pending leaves at once. */
  flush(channel: HubChannel): void {
    const { clock, put } = this.#options;
    put(channel, channel.window.close(clock.now()));
    this.schedule(channel);
  }

  /** The history of the room is interrupted: told after all that it has, at once. */
  reset(channel: HubChannel, reset: Position): void {
    const { clock, put } = this.#options;
    put(channel, { ...channel.window.close(clock.now()), reset });
    this.schedule(channel);
  }

  /**
   * Sets the timer of the channel's window to when it is due, or cancels it. Call it when the window's rules changed.
   */
  schedule(channel: HubChannel): void {
    const due = channel.window.due();
    if (due === undefined) this.#timers.cancel(channel);
    else this.#timers.set(channel, due);
  }

  /** The channel has ended. */
  cancel(channel: HubChannel): void {
    this.#timers.cancel(channel);
  }

  #flush(channel: HubChannel) {
    const { clock, put } = this.#options;
    const batch = channel.window.flush(clock.now());
    if (batch) put(channel, batch);
    // The flush may have been of losses alone, and a timer may be a little early by this clock.
    this.schedule(channel);
  }
}
