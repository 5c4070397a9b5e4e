import * as units from '@pushcluster/protocol/units.ts';
import { z } from 'zod';

/** A condition in CEL that the API server checks, and what it says where the value doesn't meet it. */
export type Rule = {
  rule: string;
  /** A sentence that names the field. */
  message: string;
  /** Path from where the rule stands to the field that is wrong, such as `.minReplicas`. */
  fieldPath?: string;
};

/** Adds `rules` to those that the API server checks. zod doesn't: what it parses, the API server has accepted. */
export function ruled<T extends z.ZodType>(schema: T, ...rules: Rule[]): T {
  return extended(schema, { 'x-kubernetes-validations': rules });
}

/** Adds keys of a CRD's schema, such as `maxProperties` or `x-kubernetes-list-type`. */
export function extended<T extends z.ZodType>(schema: T, keys: Record<string, unknown>): T {
  return schema.meta({ ...schema.meta(), ...keys });
}

/** A list whose entries differ in `keys`: the API server refuses two that don't, and merges by them. */
export function mapOf<T extends z.ZodType>(list: T, ...keys: string[]): T {
  return extended(list, { 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': keys });
}

/** A non-negative number that fits Kubernetes' 32-bit integers. */
export const count = z.number().int().min(0).max(2_147_483_647);

/** A name of a room or user, with `*` for any run of characters. */
export const pattern = z.string().min(1).max(128);

type Range = {
  min: string;
  max: string;
};

/**
 * A length of time as text with a unit, as the settings file has it.
 * @param name what messages call the field
 */
export function duration(name: string, { min, max }: Range) {
  const parsed = units.duration({ min: units.parseDuration(min)!, max: units.parseDuration(max)! });
  return ruled(
    z
      .string()
      .max(16)
      .regex(/^\d+(\.\d+)?(ms|s|m|h)$/)
      .refine((text) => parsed.safeParse(text).success, { error: `must be from ${min} to ${max}` }),
    {
      rule: `duration(self) >= duration('${min}') && duration(self) <= duration('${max}')`,
      message: `${name} must be from ${min} to ${max}`,
    },
  );
}

/**
 * A number that is no count. The rule is there besides the schema's own `minimum` because API servers cut that to an
 * integer before they hold it against an integer: 0 would pass for 0.1.
 * @param name what messages call the field
 */
export function fraction(name: string, { min, max }: { min: number; max: number }) {
  return ruled(z.number().min(min).max(max), {
    rule: `self >= double(${min}) && self <= double(${max})`,
    message: `${name} must be from ${min} to ${max}`,
  });
}

/**
 * A number of bytes as text, `256KiB` or Kubernetes' `256Ki`.
 * @param name what messages call the field
 */
export function size(name: string, { min, max }: Range) {
  const parsed = units.size({ min: units.parseSize(min)!, max: units.parseSize(max)! });
  const bytes = bytesIn('self');
  return ruled(
    z
      .string()
      .max(16)
      .regex(/^\d+(\.\d+)?(B|KiB|MiB|GiB|Ki|Mi|Gi)?$/)
      .refine((text) => parsed.safeParse(text).success, { error: `must be from ${min} to ${max}` }),
    {
      rule: `${bytes}.compareTo(quantity('${units.parseSize(min)}')) >= 0 && ${bytes}.compareTo(quantity('${units.parseSize(max)}')) <= 0`,
      message: `${name} must be from ${min} to ${max}`,
    },
  );
}

/** CEL for the quantity of a size field: Kubernetes knows Ki, not KiB. */
export function bytesIn(field: string): string {
  return `quantity(${field}.replace('B', ''))`;
}
