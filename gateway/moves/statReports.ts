import { MOVING_STAT_INTERVAL_MS, STAT_INTERVAL_MS, type Stat } from '@pushcluster/protocol/control.ts';
import type { Bus } from '@pushcluster/runtime/bus/bus.ts';
import { onTick, TICK_MS } from '@pushcluster/runtime/ticker.ts';
import type { ExceptionGuard } from '../hub/exceptionGuard.ts';
import { publishJson } from '../hub/publishJson.ts';

/** Publishes a gateway's stats: at an interval that is shorter while it moves connections away, and at each change. */
export class StatReports {
  readonly #bus: Bus;
  readonly #guard: ExceptionGuard;
  readonly #subject: string;
  readonly #read: () => Omit<Stat, 'leaving'>;
  #stop: () => void;
  #moving = false;

  constructor(bus: Bus, guard: ExceptionGuard, subject: string, read: () => Omit<Stat, 'leaving'>) {
    this.#bus = bus;
    this.#guard = guard;
    this.#subject = subject;
    this.#read = read;
    this.#stop = onTick(() => this.publish(), STAT_INTERVAL_MS / TICK_MS);
  }

  publish(leaving = false): void {
    publishJson(this.#bus, this.#guard, this.#subject, { ...this.#read(), leaving } satisfies Stat);
  }

  /** Publishes what has changed. @param moving whether the gateway moves connections away from now on */
  changed(moving: boolean): void {
    this.publish();
    if (moving === this.#moving) return;
    this.#moving = moving;
    this.#stop();
    this.#stop = onTick(() => this.publish(), (moving ? MOVING_STAT_INTERVAL_MS : STAT_INTERVAL_MS) / TICK_MS);
  }

  /** Publishes the last report, with `leaving`. */
  end(): void {
    this.#stop();
    this.publish(true);
  }
}
