import type { Settings } from '@pushcluster/protocol/settings.ts';
import type { Logger } from 'pino';
import type { Bus } from './bus.ts';
import { LocalBus } from './local.ts';
import { NatsBus } from './nats.ts';

export type BusOptions = {
  log: Logger;
  /** Of this process, shown in NATS' own lists of connections. */
  name: string;
  /** Milliseconds that a receipt of NATS may take: `logic.publishTimeout`. 2 s where absent. */
  receiptTimeout?: number;
  /** Who publishes and who subscribes are both in this process: it needs no other bus. */
  together?: true;
};

/**
 * The bus that the settings name: NATS, or in-process without `bus.nats`. Returns at once: NATS is connected to in the
 * background, for as long as it takes. Throws a sentence where the settings can't work, such as a credentials file that
 * can't be read.
 */
export function openBus(settings: Settings['bus'], options: BusOptions): Bus {
  if (settings.nats !== undefined) return new NatsBus(settings.nats, options);
  if (!options.together)
    options.log.warn('bus.nats is not set: no push leaves this process, and none comes from another');
  return new LocalBus(options.log);
}
