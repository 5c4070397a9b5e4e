import { z } from 'zod';
import { bytesIn, duration, size } from '../fields.ts';

export const batching = (field: string) => ({
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
