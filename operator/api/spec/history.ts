import { z } from 'zod';
import { duration } from '../fields.ts';

/** Settings of all histories. */
export const History = z.object({
  storage: z
    .enum(['file', 'memory'])
    .exactOptional()
    .describe(
      'Where the servers of `nats.url` keep the histories that are made from now on: on their disks (`file`, the default) or in their memory. Managed servers keep them as `nats.managed.jetstream.storage` says.',
    ),
  publishTimeout: duration('history.publishTimeout', { min: '100ms', max: '1m' })
    .default('10s')
    .describe(
      'Maximum time for which a push to a room with history is tried again while NATS does not store it. After it, the answer is 503.',
    ),
});
