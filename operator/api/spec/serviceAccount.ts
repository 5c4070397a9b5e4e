import { z } from 'zod';
import { marks } from './metadata.ts';

/** The ServiceAccount of a role. @param field the field as validation messages call it */
export function serviceAccount(field: string) {
  return z
    .object({
      annotations: marks(`${field}.annotations`, z.string()).describe(
        'Annotations of the ServiceAccount, such as `eks.amazonaws.com/role-arn`. Platforms may read them only when a pod is created.',
      ),
    })
    .prefault({})
    .describe('ServiceAccount of the pods. They have no token of the API server.');
}
