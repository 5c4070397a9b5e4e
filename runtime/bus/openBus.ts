import type { Settings } from '@pushcluster/protocol/settings.ts';
import type { Logger } from 'pino';
import type { Bus } from './bus.ts';
import { LocalBus } from './localBus.ts';
import { NatsBus } from './natsBus.ts';

export type BusOptions = {
  log: Logger;
  /** Of this process, shown in the NATS server's list of connections. */
  name: string;
  /** Milliseconds that a receipt of NATS may take: `logic.publishTimeout`. 2 s if absent. */
  receiptTimeout?: number;
  /** Many messages in a short time are read together, a few milliseconds late: for a process that passes them on. */
  isPaced?: true;
  /** Publishers and subscribers are all in this process, so that it needs no NATS. */
  together?: true;
};

/**
 * The bus that the settings name: NATS, or the in-process bus without `bus.nats`. Returns at once and connects to NATS in
 * the background, without end. Throws an Error with a sentence if the settings cannot work, such as a credentials file
 * that cannot be read.
 */
export function openBus(settings: Settings['bus'], options: BusOptions): Bus {
  if (settings.nats !== undefined) return new NatsBus(settings.nats, options);
  if (!options.together)
    options.log.warn('bus.nats is not set: this process sends no push to others and receives none');
  return new LocalBus(options.log);
}
