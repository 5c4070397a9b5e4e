import type { Logger } from './log.ts';

/**
 * Logs promises that were rejected and that nobody waits for, in place of ending the process, which would close all of its
 * connections. Each is a bug, of this project or of a library: nats.js leaves such promises where a connection is given up
 * while it is being made.
 */
export function surviveRejections(log: Logger): void {
  process.on('unhandledRejection', (error) =>
    log.error({ err: error, code: 'rejection' }, 'a promise was rejected and nobody waits for it; the process goes on'),
  );
}
