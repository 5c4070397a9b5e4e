import { z } from 'zod';
import { pattern } from '../fields.ts';
import { batching } from './batching.ts';

export const RoomPolicy = z.object({
  match: pattern.describe('Names of the rooms that the policy applies to. `*` matches any characters.'),
  batching: z
    .object({
      maxDelay: batching('rooms[].batching').maxDelay.exactOptional(),
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
});
