import { crd, type Schema } from '../api/crd.ts';
import { API_VERSION, KIND } from '../api/pushCluster.ts';

/** Where the reference page is kept, from the root of the project. */
export const REFERENCE_FILE = 'docs/reference/pushcluster.md';

/** Types of Kubernetes itself: shown by name, their keys are in its own reference. */
const KUBERNETES_TYPES = new Map([
  ['resources', 'ResourceRequirements'],
  ['affinity', 'Affinity'],
  ['tolerations', '[]Toleration'],
  ['topologySpreadConstraints', '[]TopologySpreadConstraint'],
  ['behavior', 'HorizontalPodAutoscalerBehavior'],
  ['conditions', '[]Condition'],
]);

/** The bound of counts that have none of their own: not worth a word. */
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
    `\`${API_VERSION}\`, namespaced, short names \`pc\` and \`push\` (kubectl takes \`pc\` for the built-in PriorityClass). Every key has a default: \`spec: {}\` is a working cluster.`,
    'The API server refuses what is wrong, with a message that names the field; `kubectl explain push.spec` shows these lines, too.',
    'What a change of a field does to running pods is in [changes](changes.md).',
    '',
    '```yaml',
    `apiVersion: ${API_VERSION}`,
    `kind: ${KIND}`,
    'metadata: { name: live }',
    'spec: {}',
    '```',
    '',
    'Times are text such as `500ms`, `1s`, `2m`; sizes `256KiB`, `1Mi` or bytes, in quotes.',
    '',
  ];
  for (const [name, section] of Object.entries(spec.properties ?? {}))
    lines.push(
      `## spec.${name}`,
      '',
      section.description ?? '',
      '',
      ...table(fields(section, name)),
      ...rules(section, name),
    );
  lines.push(...rules({ ...spec, properties: {} }, 'spec'));
  lines.push('## The name', '', ...(schema['x-kubernetes-validations'] ?? []).map(({ message }) => `- ${message}`), '');
  lines.push('## status', '', status.description ?? '', '', ...table(fields(status, 'status')));
  return `${lines.join('\n').trimEnd()}\n`;
}

/** All fields below `schema` that hold a value of their own: what is not an object of ours, and lists of objects with their keys. */
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
    '| field | type | default | |',
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
    : [`The API server refuses what is wrong in \`${path}\`, and says:`, '', ...messages.map((m) => `- ${m}`), ''];
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
