import { systemClock } from './clock.ts';
import type { Logger } from './log.ts';

export type Signal = 'SIGTERM' | 'SIGINT';

const EXIT_CODE = { SIGINT: 130, SIGTERM: 143 } as const satisfies Record<Signal, number>;

/**
 * Shuts the process down gracefully. The first SIGTERM or SIGINT calls `leave`. The process exits with 0 when `leave`
 * resolves, with 0 and a warning at the deadline, and with 1 if `leave` rejects. A second signal ends it at once (130 or 143).
 * @param options.deadline milliseconds from the signal; called when the signal arrives, so that it may follow live settings
 * @param options.echo the same signal again within this many milliseconds is ignored, 0 by default: a process that gets a
 *   signal both from its terminal and from its parent gets it twice
 */
export function onShutdown(
  log: Logger,
  leave: (signal: Signal) => Promise<void>,
  options: { deadline: () => number; echo?: number },
): void {
  let first: { signal: Signal; at: number } | undefined;
  const receive = (signal: Signal): void => {
    if (first) {
      if (signal === first.signal && systemClock.now() - first.at < (options.echo ?? 0)) return;
      log.warn({ signal }, 'second signal: exiting at once');
      process.exit(EXIT_CODE[signal]);
    }
    const began = systemClock.now();
    first = { signal, at: began };
    const deadline = options.deadline();
    log.info({ signal, deadlineMs: deadline }, 'shutting down');
    setTimeout(() => {
      log.warn({ signal, deadlineMs: deadline }, 'shutdown is not complete at the deadline: exiting now');
      process.exit(0);
    }, deadline);
    // A `leave` that throws synchronously is handled as one that rejects.
    Promise.resolve(signal)
      .then(leave)
      .then(
        () => {
          log.info({ signal, tookMs: Math.round(systemClock.now() - began) }, 'shut down');
          process.exit(0);
        },
        (error: unknown) => {
          log.error({ signal, err: error }, 'shutdown failed');
          process.exit(1);
        },
      );
  };
  process.on('SIGTERM', receive);
  process.on('SIGINT', receive);
}
