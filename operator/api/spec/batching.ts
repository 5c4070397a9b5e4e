import { z } from 'zod';
import { bytesIn, duration, size } from '../fields.ts';

export const batching = (field: string) => ({
  minDelay: duration(`${field}.minDelay`, { min: '0s', max: '10s' }).describe(
    'Shortest time that a frame waits for further items. With `0s`, the first item of a quiet room is sent immediately. Counts up to `maxDelay`.',
  ),
  adaptive: z
    .boolean()
    .describe(
      'Whether an item waits only as long as the gateway needs to keep the CPU time of frames within bounds, at most `maxDelay`: milliseconds in small rooms, `maxDelay` in large ones and under load. With `false`, it always waits until `maxDelay` has passed since the last frame.',
    ),
  maxDelay: duration(`${field}.maxDelay`, { min: '0s', max: '10s' }).describe(
    'Longest time that an item waits for others to share its frame. With `0s`, each push is sent immediately in a frame of its own.',
  ),
  maxItems: z.number().int().min(1).max(10_000).describe('Maximum number of items in a frame.'),
  maxBytes: size(`${field}.maxBytes`, { min: '1KiB', max: '1MiB' }).describe(
    'Maximum total size of the items in a frame. A larger item is sent in a frame of its own.',
  ),
});

/** CEL: twice a size field. */
export function twice(field: string): string {
  return `${bytesIn(field)}.add(${bytesIn(field)})`;
}
