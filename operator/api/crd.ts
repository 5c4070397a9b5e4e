import { stringify } from 'yaml';
import { z } from 'zod';
import { API_VERSION, GROUP, KIND, PLURAL, ROOT_RULES, Spec, Status, VERSION } from './pushCluster.ts';

/** A structural schema of Kubernetes: the keywords that this CRD uses. */
export type Schema = {
  type?: string;
  description?: string;
  default?: unknown;
  format?: string;
  pattern?: string;
  enum?: unknown[];
  minimum?: number;
  /** Makes `minimum` exclusive: Kubernetes uses an older JSON Schema, in which this is a boolean. */
  exclusiveMinimum?: boolean;
  maximum?: number;
  minLength?: number;
  maxLength?: number;
  maxItems?: number;
  maxProperties?: number;
  items?: Schema;
  properties?: Record<string, Schema>;
  additionalProperties?: Schema;
  required?: string[];
  'x-kubernetes-int-or-string'?: boolean;
  'x-kubernetes-list-type'?: string;
  'x-kubernetes-list-map-keys'?: string[];
  /** Fields that are not in `properties` are kept. */
  'x-kubernetes-preserve-unknown-fields'?: true;
  'x-kubernetes-validations'?: { rule: string; message: string; fieldPath?: string }[];
};

const KEYS = [
  'description',
  'type',
  'default',
  'format',
  'pattern',
  'enum',
  'minimum',
  'maximum',
  'minLength',
  'maxLength',
  'maxItems',
  'maxProperties',
  'required',
  'x-kubernetes-int-or-string',
  'x-kubernetes-list-type',
  'x-kubernetes-list-map-keys',
  'x-kubernetes-validations',
] as const satisfies (keyof Schema)[];

/** Path of the CRD from the root of the project. */
export const CRD_FILE = `crds/${PLURAL}.${GROUP}.yaml`;
/** Path of its copy in the chart: a chart cannot read files outside its folder. */
export const CHART_CRD_FILE = 'charts/pushcluster/files/crd.yaml';

/** The CustomResourceDefinition. */
export function crd() {
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${PLURAL}.${GROUP}` },
    spec: {
      group: GROUP,
      scope: 'Namespaced',
      // kubectl resolves `pc` to the built-in PriorityClass first: hence a second short name.
      names: {
        kind: KIND,
        listKind: `${KIND}List`,
        plural: PLURAL,
        singular: KIND.toLowerCase(),
        shortNames: ['pc', 'push'],
      },
      versions: [
        {
          name: VERSION,
          served: true,
          storage: true,
          subresources: {
            status: {},
            scale: {
              specReplicasPath: '.spec.gateway.replicas',
              statusReplicasPath: '.status.gateway.replicas',
              labelSelectorPath: '.status.gateway.selector',
            },
          },
          additionalPrinterColumns: [
            { name: 'Ready', type: 'string', jsonPath: '.status.conditions[?(@.type=="Ready")].status' },
            { name: 'Reason', type: 'string', jsonPath: '.status.conditions[?(@.type=="Ready")].reason' },
            { name: 'Gateways', type: 'string', jsonPath: '.status.gateway.ready' },
            { name: 'Connections', type: 'integer', jsonPath: '.status.gateway.connections' },
            { name: 'Endpoint', type: 'string', jsonPath: '.status.endpoints.client' },
            { name: 'Version', type: 'string', jsonPath: '.status.version' },
            { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' },
            // With -o wide.
            { name: 'Logic', type: 'string', jsonPath: '.status.logic.ready', priority: 1 },
            { name: 'NATS', type: 'string', jsonPath: '.status.nats.ready', priority: 1 },
            { name: 'Pods', type: 'integer', jsonPath: '.status.gateway.pods.total', priority: 1 },
            { name: 'Draining', type: 'integer', jsonPath: '.status.gateway.draining', priority: 1 },
            {
              name: 'Progressing',
              type: 'string',
              jsonPath: '.status.conditions[?(@.type=="Progressing")].reason',
              priority: 1,
            },
            {
              name: 'Autoscaling',
              type: 'string',
              jsonPath: '.status.conditions[?(@.type=="Autoscaling")].reason',
              priority: 1,
            },
            {
              name: 'Message',
              type: 'string',
              jsonPath: '.status.conditions[?(@.type=="Ready")].message',
              priority: 1,
            },
          ],
          schema: { openAPIV3Schema: openApi() },
        },
      ],
    },
  };
}

/** Content of CRD_FILE. */
export function crdText(): string {
  return `# Made by \`npm run crd -w @pushcluster/operator\` from operator/api/spec.ts.\n${stringify(crd(), { lineWidth: 120, aliasDuplicateObjects: false })}`;
}

/** The structural schema of the input of a zod schema: fields with a default are not required. */
export function structural(schema: z.ZodType): Schema {
  return cleaned(z.toJSONSchema(schema, { io: 'input' }) as JsonSchema);
}

function openApi(): Schema {
  return {
    type: 'object',
    description:
      'A WebSocket push service: gateways that hold the connections of clients, and logic pods with the API for publishers.',
    properties: {
      apiVersion: { type: 'string', description: `Version of the API: ${API_VERSION}.` },
      kind: { type: 'string', description: `Kind of the object: ${KIND}.` },
      metadata: { type: 'object' },
      spec: {
        ...structural(Spec),
        default: {},
        description:
          'Desired state. Every field has a default: `{}` is a working cluster. Changes apply to running pods within seconds unless the description of a field says otherwise.',
      },
      status: { ...structural(Status), description: 'Observed state, as reported by the operator.' },
    },
    'x-kubernetes-validations': [...ROOT_RULES],
  };
}

type JsonSchema = z.core.JSONSchema.BaseSchema & Record<string, unknown>;

/** Drops keywords that a structural schema must not have. The order of keys is stable. */
function cleaned(json: JsonSchema): Schema {
  const schema: Schema = {};
  for (const key of KEYS) if (json[key] !== undefined) Object.assign(schema, { [key]: json[key] });
  if (typeof json.exclusiveMinimum === 'number') {
    schema.minimum = json.exclusiveMinimum;
    schema.exclusiveMinimum = true;
  }
  // zod limits integers to those that a double represents exactly; the API server has limits of its own.
  if (json.maximum === Number.MAX_SAFE_INTEGER) delete schema.maximum;
  if (json.minimum === Number.MIN_SAFE_INTEGER) delete schema.minimum;
  if (json['x-kubernetes-int-or-string'] === true) {
    delete schema.type;
    return schema;
  }
  if (typeof json.type !== 'string')
    throw new TypeError(`a structural schema cannot express this: ${JSON.stringify(json)}`);
  if (json.properties) {
    schema.properties = Object.fromEntries(
      Object.entries(json.properties).map(([name, property]) => [name, cleaned(property as JsonSchema)]),
    );
  }
  if (json.items) schema.items = cleaned(json.items as JsonSchema);
  const { additionalProperties } = json;
  if (isAnything(additionalProperties)) schema['x-kubernetes-preserve-unknown-fields'] = true;
  else if (additionalProperties) schema.additionalProperties = cleaned(additionalProperties as JsonSchema);
  return schema;
}

/** The schema of the unknown fields of a loose object of zod. */
function isAnything(schema: unknown): boolean {
  return typeof schema === 'object' && schema !== null && Object.keys(schema).length === 0;
}
