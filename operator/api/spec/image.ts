import { z } from 'zod';

export const Image = z.object({
  gateway: z
    .string()
    .min(1)
    .max(500)
    .exactOptional()
    .describe(
      "Image of the gateway pods. Defaults to the image of the operator's own version. Changing it rolls out the gateways.",
    ),
  logic: z
    .string()
    .min(1)
    .max(500)
    .exactOptional()
    .describe(
      "Image of the logic pods. Defaults to the image of the operator's own version. Changing it rolls out the logic pods.",
    ),
  pullPolicy: z
    .enum(['Always', 'IfNotPresent', 'Never'])
    .default('IfNotPresent')
    .describe('When nodes pull the images, as in a pod. Changing it rolls out all pods.'),
});
