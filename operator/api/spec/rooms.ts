import { z } from 'zod';
import { duration, extended, pattern, ruled } from '../fields.ts';
import { batching } from './batching.ts';

export const RoomPolicy = ruled(
  z.object({
    match: pattern.describe('Names of the rooms that the policy applies to. `*` matches any characters.'),
    batching: z
      .object({
        minDelay: batching('rooms[].batching').minDelay.exactOptional(),
        maxDelay: batching('rooms[].batching').maxDelay.exactOptional(),
        adaptive: batching('rooms[].batching').adaptive.exactOptional(),
        maxItems: batching('rooms[].batching').maxItems.exactOptional(),
        maxBytes: batching('rooms[].batching').maxBytes.exactOptional(),
      })
      .exactOptional()
      .describe(
        'Overrides `gateway.batching` for these rooms. Fields that are not set keep the value of `gateway.batching`.',
      ),
    overload: z
      .object({
        maxRate: z
          .number()
          .positive()
          .max(1_000_000)
          .describe('Maximum number of items per second that a room sends to each of its members.'),
        policy: z
          .enum(['sample', 'dropOldest', 'dropNewest'])
          .default('sample')
          .describe(
            'Which items are sent when there are more: a random sample (`sample`), the newest (`dropOldest`) or the oldest (`dropNewest`).',
          ),
      })
      .exactOptional()
      .describe(
        'Limits the rate at which items are sent, for example for a chat with more messages than people can read. Dropped items are counted and reported to the members.',
      ),
    history: z
      .object({
        messages: z
          .number()
          .int()
          .min(1)
          .max(10_000)
          .default(100)
          .describe('Maximum number of pushes kept of each room.'),
        maxAge: duration('rooms[].history.maxAge', { min: '2m', max: '720h' })
          .default('1h')
          .describe('Maximum age of a push that is kept.'),
        replicas: extended(z.literal([1, 3]), { type: 'integer' })
          .default(1)
          .describe('Number of copies on different NATS servers: 1 or 3. 3 requires three NATS servers.'),
      })
      .exactOptional()
      .describe(
        'Keeps the last pushes of each room in NATS, so that connected clients get each of them once and backends can read them. Requires `nats.managed.jetstream` or `nats.url`.',
      ),
  }),
  {
    rule: '!has(self.overload) || !has(self.history)',
    message: 'rooms[] must not have both overload and history: what overload drops would be missing in the history',
    fieldPath: '.overload',
  },
);
