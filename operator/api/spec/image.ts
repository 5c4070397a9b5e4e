import { z } from 'zod';

export const Image = z.object({
  gateway: z
    .string()
    .min(1)
    .max(500)
    .exactOptional()
    .describe("Image of the gateways. Absent: the operator's own version."),
  logic: z.string().min(1).max(500).exactOptional().describe("Image of logic. Absent: the operator's own version."),
  pullPolicy: z.enum(['Always', 'IfNotPresent', 'Never']).default('IfNotPresent').describe('As in a pod.'),
});
