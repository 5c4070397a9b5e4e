import { type Bus, BusUnavailable } from '@pushcluster/runtime/bus/bus.ts';
import type { Guard } from './guard.ts';

/**
 * Says `message` on the bus as JSON: now, or not at all. False where the bus is away, or does not take it (it is larger
 * than the bus's messages may be): never an error, since who says something is often a timer.
 */
export function announce(bus: Bus, guard: Guard, subject: string, message: object | string): boolean {
  try {
    bus.publish(subject, Buffer.from(typeof message === 'string' ? message : JSON.stringify(message)));
    return true;
  } catch (error) {
    if (!(error instanceof BusUnavailable)) guard.caught('publish', error);
    return false;
  }
}
