import { z } from 'zod';
import { pattern } from '../fields.ts';
import { batching } from './batching.ts';

export const RoomPolicy = z.object({
  match: pattern.describe('Names of rooms, with `*` for any run of characters.'),
  batching: z
    .object({
      maxDelay: batching('rooms[].batching').maxDelay.exactOptional(),
      maxItems: batching('rooms[].batching').maxItems.exactOptional(),
      maxBytes: batching('rooms[].batching').maxBytes.exactOptional(),
    })
    .exactOptional()
    .describe('In place of `gateway.batching`.'),
  overload: z
    .object({
      maxRate: z.number().positive().max(1_000_000).describe('Items a second.'),
      policy: z
        .enum(['sample', 'dropOldest', 'dropNewest'])
        .default('sample')
        .describe('Which items stay: a random sample, the newest, or the oldest.'),
    })
    .exactOptional()
    .describe('What the room does with more items than people can read.'),
});
