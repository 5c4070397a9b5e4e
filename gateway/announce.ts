import { type Bus, BusUnavailable } from '@pushcluster/runtime/bus/bus.ts';

/** Says `message` on the bus as JSON: now, or not at all. False where the bus is away. */
export function announce(bus: Bus, subject: string, message: object): boolean {
  try {
    bus.publish(subject, Buffer.from(JSON.stringify(message)));
    return true;
  } catch (error) {
    if (error instanceof BusUnavailable) return false;
    throw error;
  }
}
