import { MOVING_STAT_INTERVAL_MS, STAT_INTERVAL_MS, type Stat } from '@pushcluster/protocol/control.ts';
import { BEAT_MS, onBeat } from '@pushcluster/runtime/beat.ts';
import type { Bus } from '@pushcluster/runtime/bus/bus.ts';
import { announce } from './announce.ts';
import type { Guard } from './guard.ts';

/** What a gateway says of itself on the bus: now and then, more often while it moves connections away, and at a change. */
export class StatReports {
  readonly #bus: Bus;
  readonly #guard: Guard;
  readonly #subject: string;
  readonly #read: () => Omit<Stat, 'leaving'>;
  #stop: () => void;
  #moving = false;

  constructor(bus: Bus, guard: Guard, subject: string, read: () => Omit<Stat, 'leaving'>) {
    this.#bus = bus;
    this.#guard = guard;
    this.#subject = subject;
    this.#read = read;
    this.#stop = onBeat(() => this.say(), STAT_INTERVAL_MS / BEAT_MS);
  }

  say(leaving = false): void {
    announce(this.#bus, this.#guard, this.#subject, { ...this.#read(), leaving } satisfies Stat);
  }

  /** Says what has changed, and from now on as often as `moving` asks for. */
  changed(moving: boolean): void {
    this.say();
    if (moving === this.#moving) return;
    this.#moving = moving;
    this.#stop();
    this.#stop = onBeat(() => this.say(), (moving ? MOVING_STAT_INTERVAL_MS : STAT_INTERVAL_MS) / BEAT_MS);
  }

  /** The last word. */
  end(): void {
    this.#stop();
    this.say(true);
  }
}
