import { z } from 'zod';
import { bytesIn, duration, size } from '../fields.ts';

export const batching = (field: string) => ({
  maxDelay: duration(`${field}.maxDelay`, { min: '0s', max: '10s' }).describe(
    'Longest wait of an item for its frame. `0s`: a frame at once for every push.',
  ),
  maxItems: z.number().int().min(1).max(10_000).describe('Items in a frame at most.'),
  maxBytes: size(`${field}.maxBytes`, { min: '1KiB', max: '1MiB' }).describe(
    'Bytes of items in a frame at most; one larger item goes alone.',
  ),
});

/** CEL for twice a size. */
export function twice(field: string): string {
  return `${bytesIn(field)}.add(${bytesIn(field)})`;
}
