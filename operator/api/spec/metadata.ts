import { z } from 'zod';
import { extended, ruled } from '../fields.ts';

/** CEL: the operator depends on this label or annotation, so users must not set it. */
export const RESERVED =
  "k.startsWith('app.kubernetes.io/') || k.startsWith('pushcluster.dev/') || k == 'pod-template-hash'";
export const QUALIFIED_NAME = '!format.qualifiedName().validate(k).hasValue()';

export const labelValue = z
  .string()
  .max(63)
  .regex(/^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$/);

export const annotations = extended(z.record(z.string(), z.string()), { maxProperties: 64 });

/**
 * Labels or annotations that users add to an object of the operator.
 * @param name the field as validation messages call it
 */
export function marks<T extends z.ZodString>(name: string, value: T) {
  return ruled(
    extended(z.record(z.string(), value), { maxProperties: 16 }),
    {
      rule: `self.all(k, !(${RESERVED}))`,
      message: `${name} must leave app.kubernetes.io/, pushcluster.dev/ and pod-template-hash to the operator`,
    },
    {
      rule: `self.all(k, ${QUALIFIED_NAME})`,
      message: `${name} must have names of up to 63 letters, digits, "-", "_" and "."`,
    },
  ).default({});
}
