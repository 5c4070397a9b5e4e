import { type Bus, BusUnavailable } from '@pushcluster/runtime/bus/bus.ts';
import type { ExceptionGuard } from './exceptionGuard.ts';

/**
 * Publishes `message` as JSON. It never throws, since callers are often timers: an error other than an unavailable bus,
 * such as a message above the bus's `maxPayload`, is counted and logged by `guard`.
 * @param message an object, or a string that is JSON already
 * @returns false if the message was not published, and will not be
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
