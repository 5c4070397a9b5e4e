import { z } from 'zod';

const secretKey = z
  .string()
  .min(1)
  .max(253)
  .regex(/^[-._a-zA-Z0-9]+$/);

/** A reference to one key of a Secret in the namespace of the PushCluster. @param key the default key */
export function secretRef(key: string) {
  return z.object({
    name: z.string().min(1).max(253).describe('Name of the Secret, in the namespace of the PushCluster.'),
    key: secretKey.default(key).describe('Key of the value in the Secret.'),
  });
}
