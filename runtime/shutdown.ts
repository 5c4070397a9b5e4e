import type { Logger } from './log.ts';

export type Signal = 'SIGTERM' | 'SIGINT';

const EXIT_CODE = { SIGINT: 130, SIGTERM: 143 } as const satisfies Record<Signal, number>;

/**
 * Leaves well: the first SIGTERM or SIGINT calls `leave` once and the process ends with 0 when it resolves, or at the
 * deadline with a warning. A second signal ends it at once (130 or 143). Where `leave` rejects, that is logged and the
 * code is 1.
 * @param options.deadline milliseconds from the signal, asked when the signal comes: it may follow live settings
 * @param options.echo milliseconds in which the same signal again is the first one's echo and ignored, 0 by default: who is
 *   told to end together with the program above it, which hands the signal on, gets it twice
 */
export function onShutdown(
  log: Logger,
  leave: (signal: Signal) => Promise<void>,
  options: { deadline: () => number; echo?: number },
): void {
  let first: { signal: Signal; at: number } | undefined;
  const receive = (signal: Signal): void => {
    if (first) {
      if (signal === first.signal && performance.now() - first.at < (options.echo ?? 0)) return;
      log.warn({ signal }, 'second signal: ending at once');
      process.exit(EXIT_CODE[signal]);
    }
    const began = performance.now();
    first = { signal, at: began };
    const deadline = options.deadline();
    log.info({ signal, deadlineMs: deadline }, 'leaving');
    setTimeout(() => {
      log.warn({ signal, deadlineMs: deadline }, 'not done by the deadline: ending now');
      process.exit(0);
    }, deadline);
    // A `leave` that throws before its first await must end like one that rejects.
    Promise.resolve(signal)
      .then(leave)
      .then(
        () => {
          log.info({ signal, tookMs: Math.round(performance.now() - began) }, 'left');
          process.exit(0);
        },
        (error: unknown) => {
          log.error({ signal, err: error }, 'leaving failed');
          process.exit(1);
        },
      );
  };
  process.on('SIGTERM', receive);
  process.on('SIGINT', receive);
}
