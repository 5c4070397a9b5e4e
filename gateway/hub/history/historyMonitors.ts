import { HistoryMonitor, type HistoryMonitorOptions } from './historyMonitor.ts';

/** The monitors of all policies with a history: one for each, made with its first room. */
export class HistoryMonitors {
  readonly #options: Omit<HistoryMonitorOptions, 'match'>;
  readonly #monitors = new Map<string, HistoryMonitor>();

  constructor(options: Omit<HistoryMonitorOptions, 'match'>) {
    this.#options = options;
  }

  /** @param match the policy's pattern of room names */
  of(match: string): HistoryMonitor {
    let monitor = this.#monitors.get(match);
    if (!monitor) {
      monitor = new HistoryMonitor({ ...this.#options, match });
      this.#monitors.set(match, monitor);
    }
    return monitor;
  }

  /** How far the streams were followed: by epoch, the largest sequence number. */
  get reached(): Record<string, number> {
    return Object.fromEntries([...this.#monitors.values()].flatMap(({ reached }) => [...reached]));
  }

  /** The policies are now those of `matches`: monitors of others end. */
  keep(matches: ReadonlySet<string>): void {
    for (const [match, monitor] of this.#monitors) {
      if (matches.has(match)) continue;
      monitor.close();
      this.#monitors.delete(match);
    }
  }
}
