import type { Logger } from './log.ts';

export type Signal = 'SIGTERM' | 'SIGINT';

const EXIT_CODE = { SIGINT: 130, SIGTERM: 143 } as const satisfies Record<Signal, number>;

/**
 * Leaves well: the first SIGTERM or SIGINT calls `leave` once and the process ends with 0 when it resolves, or at the
 * deadline with a warning. A second signal ends it at once (130 or 143). Where `leave` rejects, that is logged and the
 * code is 1.
 * @param options.deadline milliseconds from the signal, asked when the signal comes: it may follow live settings
 */
export function onShutdown(
  log: Logger,
  leave: (signal: Signal) => Promise<void>,
  options: { deadline: () => number },
): void {
  let leaving = false;
  const receive = (signal: Signal): void => {
    if (leaving) {
      log.warn({ signal }, 'second signal: ending at once');
      process.exit(EXIT_CODE[signal]);
    }
    leaving = true;
    const deadline = options.deadline();
    log.info({ signal, deadlineMs: deadline }, 'leaving');
    const began = performance.now();
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
