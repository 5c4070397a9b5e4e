import * as units from '@pushcluster/protocol/units.ts';
import { z } from 'zod';

/** A validation rule in CEL that the API server enforces, and its error message. */
export type Rule = {
  rule: string;
  /** Must contain the name of the field. */
  message: string;
  /** Path of the invalid field, relative to the rule, such as `.minReplicas`. */
  fieldPath?: string;
};

/** Adds validation rules to a schema. Only the API server enforces them, before the operator parses the object. */
export function ruled<T extends z.ZodType>(schema: T, ...rules: Rule[]): T {
  return extended(schema, { 'x-kubernetes-validations': rules });
}

/** Adds keywords of CRD schemas, such as `maxProperties` or `x-kubernetes-list-type`. */
export function extended<T extends z.ZodType>(schema: T, keys: Record<string, unknown>): T {
  return schema.meta({ ...schema.meta(), ...keys });
}

/** A list whose entries are identified by `keys`: the API server rejects duplicates, and merges entries by them. */
export function mapOf<T extends z.ZodType>(list: T, ...keys: string[]): T {
  return extended(list, { 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': keys });
}

/** A non-negative number that fits Kubernetes' 32-bit integers. */
export const count = z.number().int().min(0).max(2_147_483_647);

/** A port of a Service, or of a node. */
export const port = z.number().int().min(1).max(65_535);

/** A name of a room or user, with `*` for any run of characters. */
export const pattern = z.string().min(1).max(128);

type Range = {
  min: string;
  max: string;
};

/**
 * A duration as a string with a unit, as in the settings file.
 * @param name the field as validation messages call it
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
 * A number that may have a fraction. A rule repeats `minimum` and `maximum` because the API server truncates these when
 * the value is an integer: 0 would pass a minimum of 0.1.
 * @param name the field as validation messages call it
 */
export function fraction(name: string, { min, max }: { min: number; max: number }) {
  return ruled(z.number().min(min).max(max), {
    rule: `self >= double(${min}) && self <= double(${max})`,
    message: `${name} must be from ${min} to ${max}`,
  });
}

/**
 * A number of bytes as a string: `256KiB`, or `256Ki` as in Kubernetes.
 * @param name the field as validation messages call it
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

/** CEL: a size field as a quantity. Kubernetes accepts Ki, not KiB. */
export function bytesIn(field: string): string {
  return `quantity(${field}.replace('B', ''))`;
}
