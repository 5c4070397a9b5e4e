import { type Bus, BusUnavailable } from '@pushcluster/runtime/bus/bus.ts';
import type { ExceptionGuard } from './exceptionGuard.ts';

/**
 * Publishes `message` as JSON now, or not at all. Returns false if the bus is unavailable, or refuses the message since
 * it is larger than the bus's messages may be. It never throws, since callers are often timers.
 * @param message a string is JSON already
 */
export function publishJson(bus: Bus, guard: ExceptionGuard, subject: string, message: object | string): boolean {
  try {
    bus.publish(subject, Buffer.from(typeof message === 'string' ? message : JSON.stringify(message)));
    return true;
  } catch (error) {
    if (!(error instanceof BusUnavailable)) guard.caught('publish', error);
    return false;
  }
}
