import { z } from 'zod';
import { extended, ruled } from '../fields.ts';

/**
 * The PodDisruptionBudget of a role. The number has no default: the API server would add it to one that is set by the
 * other field.
 * @param field the field as validation messages call it
 * @param pods the pods of the role
 */
export function disruptionBudget(field: string, pods: string) {
  return ruled(
    z.object({
      enabled: z
        .boolean()
        .default(true)
        .describe('Whether there is a PodDisruptionBudget. Without one, all pods may be evicted at the same time.'),
      maxUnavailable: amount(`${field}.maxUnavailable`, 100)
        .exactOptional()
        .describe(
          `Number or percentage (rounded up) of ${pods} that may be unavailable because of evictions. Default: 1, unless \`minAvailable\` is set.`,
        ),
      minAvailable: amount(`${field}.minAvailable`, 99)
        .exactOptional()
        .describe(
          `Number or percentage (rounded up) of ${pods} that must stay available. If it is not below their number, none can be evicted.`,
        ),
    }),
    {
      rule: '!(has(self.maxUnavailable) && has(self.minAvailable))',
      message: `${field} must not have both maxUnavailable and minAvailable`,
    },
  )
    .prefault({})
    .describe(
      `How many ${pods} may be evicted at a time, for example by \`kubectl drain\`. It does not limit rollouts and scaling.`,
    );
}
export type DisruptionBudget = z.infer<ReturnType<typeof disruptionBudget>>;

/** A number of pods, or a percentage of them: more than none. */
function amount(field: string, maxPercent: 99 | 100) {
  const percentage = maxPercent === 99 ? '^[1-9][0-9]?%$' : '^([1-9][0-9]?|100)%$';
  return extended(
    ruled(z.union([z.number().int().min(1).max(1_000), z.string().regex(new RegExp(percentage))]), {
      rule: `type(self) == int ? self >= 1 && self <= 1000 : self.matches('${percentage}')`,
      message: `${field} must be from 1 to 1000, or from 1% to ${maxPercent}%`,
    }),
    { 'x-kubernetes-int-or-string': true },
  );
}
