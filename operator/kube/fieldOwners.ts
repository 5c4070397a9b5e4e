import { z } from 'zod';

/** An entry of `metadata.managedFields`: the fields that a manager owns. Fields of no interest here are dropped. */
const FieldOwner = z.object({
  manager: z.string().exactOptional(),
  /** The subresource by which they were written, such as `scale`. */
  subresource: z.string().exactOptional(),
  fieldsV1: z.record(z.string(), z.unknown()).exactOptional(),
});
export type FieldOwner = z.infer<typeof FieldOwner>;

/** `metadata.managedFields`. An entry of an unknown form counts as none. */
export const ManagedFields = z.array(FieldOwner).catch([]);

/** The managers that own a field. @param path names of fields, from the root of the object */
export function ownersOf(managedFields: readonly FieldOwner[], path: readonly string[]): FieldOwner[] {
  return managedFields.filter(({ fieldsV1 }) => {
    let fields: unknown = fieldsV1;
    for (const name of path) fields = isRecord(fields) ? fields[`f:${name}`] : undefined;
    return fields !== undefined;
  });
}

/** The object without the managedFields that do not own this field: they are half of its size. */
export function withOwnersOf<T extends { metadata: object }>(object: T, path: readonly string[]): T {
  const { managedFields, ...metadata }: { managedFields?: unknown } = object.metadata;
  const owners = ownersOf(ManagedFields.parse(managedFields ?? []), path);
  const fieldsV1 = path.reduceRight<object>((inner, name) => ({ [`f:${name}`]: inner }), {});
  return { ...object, metadata: { ...metadata, managedFields: owners.map((each) => ({ ...each, fieldsV1 })) } };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
