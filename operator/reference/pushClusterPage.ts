import { crd, type Schema } from '../api/crd.ts';
import { API_VERSION, KIND } from '../api/pushCluster.ts';

/** Path of the reference page from the root of the project. */
export const REFERENCE_FILE = 'docs/reference/pushcluster.md';

/** Types of Kubernetes, shown by name. Its own reference describes their fields. */
const KUBERNETES_TYPES = new Map([
  ['resources', 'ResourceRequirements'],
  ['affinity', 'Affinity'],
  ['tolerations', '[]Toleration'],
  ['topologySpreadConstraints', '[]TopologySpreadConstraint'],
  ['behavior', 'HorizontalPodAutoscalerBehavior'],
  ['spec', 'PodSpec'],
  ['conditions', '[]Condition'],
]);

/** The maximum of counts without a limit of their own. It is not shown. */
const MAX_INT32 = 2_147_483_647;

/** One field of the resource, as the reference shows it. */
export type Field = { path: string; schema: Schema; required: boolean };

/** The reference page of the PushCluster resource. */
export function referenceText(): string {
  const schema = crd().spec.versions[0]!.schema.openAPIV3Schema;
  const { spec, status } = schema.properties as { spec: Schema; status: Schema };
  const lines = [
    '<!-- Made by `npm run crd -w @pushcluster/operator` from operator/api/spec.ts. -->',
    '',
    `# ${KIND}`,
    '',
    `API version \`${API_VERSION}\`, namespaced. Short names are \`push\` and \`pc\`; kubectl resolves \`pc\` to PriorityClass`,
    'first. Every field has a default, so `spec: {}` is a working cluster, which is reachable only inside its Kubernetes',
    'cluster.',
    '',
    'The API server rejects invalid values with a message that names the field. `kubectl explain push.spec` shows the',
    'descriptions below. [Effects of changes](changes.md) lists which changes apply to running pods and which roll them out.',
    '',
    '```yaml',
    `apiVersion: ${API_VERSION}`,
    `kind: ${KIND}`,
    'metadata: { name: live }',
    'spec: {}',
    '```',
    '',
    'Durations are strings such as `500ms`, `1s` or `2m`. Sizes are strings such as `256KiB`, `1Mi` or a number of bytes.',
    '',
  ];
  for (const [name, section] of Object.entries(spec.properties ?? {}))
    lines.push(`## spec.${name}`, '', section.description ?? '', '', ...parts(section, name), ...rules(section, name));
  lines.push(...rules({ ...spec, properties: {} }, 'spec'));
  lines.push(
    '## metadata.name',
    '',
    'The API server enforces:',
    '',
    ...(schema['x-kubernetes-validations'] ?? []).map(({ message }) => `- ${message}`),
    '',
  );
  lines.push('## status', '', status.description ?? '', '', ...parts(status, 'status'));
  return `${lines.join('\n').trimEnd()}\n`;
}

/** The table of a section's own fields, then one table for each of its groups: objects of this CRD. */
function parts(section: Schema, name: string): string[] {
  const groups = Object.entries(section.properties ?? {}).filter(isGroup);
  const own = rows(section, name).filter(({ path }) =>
    groups.every(([key]) => path !== `${name}.${key}` && !path.startsWith(`${name}.${key}.`)),
  );
  const tables = groups.flatMap(([key, group]) => [
    `### ${name}.${key}`,
    '',
    group.description ?? '',
    '',
    ...table(rows(group, `${name}.${key}`)),
  ]);
  return [...(own.length > 0 ? table(own) : []), ...tables];
}

/** The fields below `schema`, and before those of an object the object itself, which has a description too. */
function rows(schema: Schema, path: string): Field[] {
  const item = schema.items?.properties === undefined ? undefined : schema.items;
  const { properties = {}, required = [] } = item ?? schema;
  const below = item ? `${path}[]` : path;
  return Object.entries(properties).flatMap(([key, each]) => {
    const field = { path: `${below}.${key}`, schema: each, required: required.includes(key) };
    const isList = each.items?.properties !== undefined && !KUBERNETES_TYPES.has(key);
    return isGroup([key, each]) || isList ? [field, ...rows(each, field.path)] : [field];
  });
}

function isGroup([key, { properties }]: [string, Schema]): boolean {
  return properties !== undefined && !KUBERNETES_TYPES.has(key);
}

/**
 * All fields below `schema` that have a value of their own: anything but objects of this CRD, whose fields are listed.
 */
export function fields(schema: Schema, path: string, required = false): Field[] {
  const name = path.split('.').at(-1)!.replace('[]', '');
  if (schema.properties === undefined || KUBERNETES_TYPES.has(name)) {
    const item = schema.items?.properties;
    if (item === undefined || KUBERNETES_TYPES.has(name)) return [{ path, schema, required }];
    return Object.entries(item).flatMap(([key, value]) =>
      fields(value, `${path}[].${key}`, schema.items?.required?.includes(key) ?? false),
    );
  }
  return Object.entries(schema.properties).flatMap(([key, value]) =>
    fields(value, `${path}.${key}`, schema.required?.includes(key) ?? false),
  );
}

function table(rows: Field[]): string[] {
  return [
    '| field | type | default | description |',
    '| --- | --- | --- | --- |',
    ...rows.map(
      ({ path, schema, required }) =>
        `| \`${path}\` | ${type(path, schema)} | ${fallback(schema, required)} | ${cell(schema.description ?? '')}${range(schema)} |`,
    ),
    '',
  ];
}

function rules(schema: Schema, path: string): string[] {
  const messages = [...new Set(messagesOf(schema))];
  return messages.length === 0
    ? []
    : [`The API server enforces for \`${path}\`:`, '', ...messages.map((m) => `- ${m}`), ''];
}

function messagesOf(schema: Schema): string[] {
  const own = (schema['x-kubernetes-validations'] ?? []).map(({ message }) => message);
  const below = [...Object.values(schema.properties ?? {}), ...(schema.items ? [schema.items] : [])];
  return [...own, ...below.flatMap(messagesOf)];
}

function type(path: string, schema: Schema): string {
  const known = KUBERNETES_TYPES.get(path.split('.').at(-1)!);
  if (known !== undefined) return known;
  if (schema.enum) return schema.enum.map((value) => `\`${value}\``).join(', ');
  if (schema['x-kubernetes-int-or-string']) return 'integer or string';
  if (schema.items) return `[]${schema.items.type ?? 'object'}`;
  if (schema.additionalProperties) return `map of ${schema.additionalProperties.type ?? 'amounts'}`;
  return schema.type ?? '';
}

function fallback(schema: Schema, required: boolean): string {
  if (schema.default !== undefined) return `\`${JSON.stringify(schema.default).replace(/^"(.*)"$/, '$1')}\``;
  return required ? 'required' : '';
}

function range({ minimum, maximum, exclusiveMinimum }: Schema): string {
  if (minimum === undefined || maximum === undefined || maximum >= MAX_INT32) return '';
  return ` ${exclusiveMinimum ? `Above ${minimum}, up` : minimum} to ${maximum.toLocaleString('en')}.`;
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|');
}
