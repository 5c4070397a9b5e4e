import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { before, describe, it } from 'node:test';
import { parse, parseAllDocuments } from 'yaml';
import { z } from 'zod';
import { type Helm, helmWith } from '../harness/cluster/helm.ts';
import { CHART, REGISTRY } from '../harness/cluster/product.ts';
import { kubeTools } from '../harness/cluster/tools.ts';

/** The part of JSON Schema that values.schema.json uses. */
type Schema = z.infer<typeof SchemaFields> & {
  properties?: Record<string, Schema> | undefined;
  items?: Schema | undefined;
};
const SchemaFields = z.object({
  $ref: z.string().optional(),
  type: z.string().optional(),
  enum: z.array(z.unknown()).optional(),
  pattern: z.string().optional(),
  minimum: z.number().optional(),
  maximum: z.number().optional(),
  additionalProperties: z.unknown().optional(),
  examples: z.array(z.unknown()).optional(),
});
const Schema: z.ZodType<Schema> = SchemaFields.extend({
  properties: z
    .record(
      z.string(),
      z.lazy(() => Schema),
    )
    .optional(),
  items: z.lazy(() => Schema).optional(),
});
const Root = z.object({
  properties: z.record(z.string(), Schema),
  definitions: z.record(z.string(), Schema),
});

const file = (name: string) => readFileSync(`${CHART}/${name}`, 'utf8');
const { properties, definitions } = Root.parse(JSON.parse(file('values.schema.json')));
const defaults: unknown = parse(file('values.yaml'));
const KINDS = ['PrometheusRule', 'ServiceMonitor'].map((kind) => `--api-versions=monitoring.coreos.com/v1/${kind}`);
/** Everything that is off by default and has values of its own. */
const FEATURES = {
  images: { registry: REGISTRY },
  nodeTuning: { enabled: true },
  metricsApi: { enabled: true, prometheusAdapterRules: true },
  networkPolicy: { enabled: true },
  monitoring: { rules: { configMap: true } },
};
/** Values that have an effect only together with another one. */
const TOGETHER: Record<string, object> = {
  'serviceAccount.create': { serviceAccount: { name: 'given' } },
};
/** Values without an effect on objects. Those of a parent chart are not ours. */
const NO_EFFECT = new Set(['global']);

/** A text that YAML takes for a number where it has no quotes. */
const DIGITS = '4711';

type Leaf = { path: string[]; schema: Schema };

describe("the chart's values", { concurrency: availableParallelism() }, () => {
  let helm: Helm;
  let usual: Promise<string>;
  let everything: Promise<string>;
  before(async () => {
    helm = helmWith((await kubeTools('control-plane'))('helm'));
    usual = template({ images: { registry: REGISTRY } });
    everything = template(FEATURES);
  });

  /** @param name of the release and its namespace */
  const template = (values: object, name = 'push') =>
    helm(['template', name, CHART, '-n', name, ...KINDS, '-f', '-'], JSON.stringify(values));

  it('are in the schema and in values.yaml alike', () => {
    for (const { path, schema } of leaves(properties)) {
      const [parent, name] = [at(defaults, path.slice(0, -1)), path.at(-1)!];
      if (NO_EFFECT.has(path[0]!)) continue;
      assert.ok(typeof parent === 'object' && parent !== null, path.join('.'));
      // Sysctls of nodes that are left alone by default.
      if (!(name in parent)) assert.equal(path[1], 'sysctls', `values.yaml has no ${path.join('.')}`);
      assert.notEqual(exampleOf(schema, at(defaults, path)), undefined, `${path.join('.')} needs "examples"`);
    }
  });

  for (const { path, schema } of leaves(properties)) {
    const name = path.join('.');
    if (NO_EFFECT.has(name)) continue;

    it(`${name}: another value alone is rendered, and has an effect`, async () => {
      const value = nested(path, exampleOf(schema, at(defaults, path)));
      const alone = merged({ images: { registry: REGISTRY } }, TOGETHER[name] ?? {}, value);
      const text = await template(alone);
      assertYaml(text);
      if (text !== (await usual)) return;
      const together = await template(merged(FEATURES, TOGETHER[name] ?? {}, value));
      assertYaml(together);
      assert.notEqual(together, await everything, `${name} has no effect`);
    });

    it(`${name}: null is rendered, or refused by its name`, () => assertNullIsUnderstood(path));
  }

  for (const path of sections(properties))
    it(`${path.join('.')}: null for all of it is rendered, or refused by its name`, () => assertNullIsUnderstood(path));

  it('stay texts where they are digits', async () => {
    const { global: _, ...all } = digits({ properties }) as Record<string, unknown>;
    assertNoDigits(await template(merged(FEATURES, all)));
    const named = { fullnameOverride: '', serviceAccount: { name: '' }, monitoring: { dashboards: { namespace: '' } } };
    assertNoDigits(await template(merged(FEATURES, all, named), DIGITS));
    assertNoDigits(await template(FEATURES, DIGITS));
  });

  it('are refused where the operator would not start with them', async () => {
    for (const [path, value] of [
      ['pushClusters.podSecurityContext.seccompProfile', {}],
      ['pushClusters.podSecurityContext.seccompProfile', { type: 'Default' }],
      ['pushClusters.podSecurityContext.appArmorProfile', {}],
      ['pushClusters.podSecurityContext.seLinuxOptions', { level: 1 }],
      ['pushClusters.podSecurityContext.runAsUser', 2_147_483_648],
      ['pushClusters.podSecurityContext.runAsGroup', 2_147_483_648],
      ['pushClusters.podSecurityContext.fsGroup', 2_147_483_648],
      ['pushClusters.podSecurityContext.supplementalGroups', [2_147_483_648]],
      ['operator.maxConcurrentRollouts', 1e16],
      ['monitoring.rules.runbook', 'https://docs.example.com/{page}'],
      ['monitoring.rules.runbook', 'https://docs.example.com/"page"'],
    ] as const)
      await assert.rejects(
        template(merged(FEATURES, nested(path.split('.'), value))),
        (error) => error instanceof Error && error.message.includes(`at '/${path.replaceAll('.', '/')}`),
        path,
      );
    const profile = { type: 'Localhost', localhostProfile: 'a.json' };
    const podSecurityContext = { seccompProfile: profile, appArmorProfile: profile, seLinuxOptions: { level: 's0' } };
    assertYaml(await template(merged(FEATURES, { pushClusters: { podSecurityContext } })));
  });

  it('name each environment variable of the operator once', async () => {
    const variables: readonly string[] = (await everything).match(/(?<=- name: )[A-Z][A-Z_]+\b/g) ?? [];
    assert.ok(variables.includes('LOG_LEVEL') && variables.includes('METRICS_API_PORT'), variables.join());
    const given = (...names: string[]) =>
      template(merged(FEATURES, { operator: { extraEnv: names.map((name) => ({ name, value: 'a' })) } }));
    for (const name of ['LOG_LEVEL', 'METRICS_API_PORT'])
      await assert.rejects(given('HTTPS_PROXY', name), new RegExp(`operator\\.extraEnv: ${name} is set by the chart`));
    await assert.rejects(given('HTTPS_PROXY', 'HTTPS_PROXY'), /operator\.extraEnv: HTTPS_PROXY is there twice/);
    // Not one of the chart's while the value for it is empty.
    assertYaml(await given('RUNBOOK_URL', 'HTTPS_PROXY'));
  });

  async function assertNullIsUnderstood(path: readonly string[]): Promise<void> {
    try {
      assertYaml(await template(merged(FEATURES, nested(path, null))));
    } catch (error) {
      // Helm's own words where a template meets a nil are of no use to anybody.
      const said = error instanceof Error ? error.message : String(error);
      // A template names the value, the schema its JSON pointer or the property that is missing.
      const refused = [path.join('.'), `at '/${path.join('/')}'`, `missing property '${path.at(-1)}'`];
      assert.ok(
        refused.some((words) => said.includes(words)),
        said,
      );
      assert.doesNotMatch(said, /nil pointer|wrong type for value|error calling (?!fail|required|include)/);
    }
  }
});

/** Objects that Kubernetes could read: no key twice, nothing but maps with a kind. */
function assertYaml(text: string): void {
  for (const document of parseAllDocuments(text)) {
    assert.deepEqual(document.errors, []);
    const object: unknown = document.toJS();
    if (object !== null) assert.ok(typeof object === 'object' && 'kind' in object && 'apiVersion' in object);
  }
}

/** Objects in which no text has become a number. */
function assertNoDigits(text: string): void {
  assertYaml(text);
  assert.ok(text.includes(DIGITS));
  const numbers: string[] = [];
  const walk = (value: unknown, path: string): void => {
    if (value === Number(DIGITS)) numbers.push(path);
    if (typeof value !== 'object' || value === null) return;
    for (const [name, below] of Object.entries(value)) walk(below, `${path}.${name}`);
  };
  for (const document of parseAllDocuments(text)) {
    const object: unknown = document.toJS();
    walk(object, String(at(object, ['kind'])));
  }
  assert.deepEqual(numbers, []);
}

/** A value all texts of which are digits where the schema lets them; undefined if it has no texts. */
function digits(given: Schema): unknown {
  const schema = resolved(given);
  if (schema.enum) return schema.enum[0];
  if (schema.type === 'string') return new RegExp(schema.pattern ?? '').test(DIGITS) ? DIGITS : undefined;
  if (schema.items) return [digits(schema.items)].filter((item) => item !== undefined);
  if (schema.properties) {
    const found = Object.entries(schema.properties).map(([name, below]) => [name, digits(below)] as const);
    return Object.fromEntries(found.filter(([, value]) => value !== undefined));
  }
  return typeof schema.additionalProperties === 'object' ? { [DIGITS]: DIGITS } : undefined;
}

/** The values that have values of ours below them. */
function* sections(of: Record<string, Schema>, path: string[] = []): Generator<string[]> {
  for (const [name, given] of Object.entries(of)) {
    const schema = resolved(given);
    if (!schema.properties || schema.examples) continue;
    yield [...path, name];
    yield* sections(schema.properties, [...path, name]);
  }
}

/** The values that have no values of ours below them. */
function* leaves(of: Record<string, Schema>, path: string[] = []): Generator<Leaf> {
  for (const [name, given] of Object.entries(of)) {
    const schema = resolved(given);
    const here = [...path, name];
    // An object with an example is a value of its own: its fields are those of Kubernetes.
    if (schema.properties && !schema.examples) yield* leaves(schema.properties, here);
    else yield { path: here, schema };
  }
}

function resolved(schema: Schema): Schema {
  if (schema.$ref === undefined) return schema;
  return resolved(definitions[schema.$ref.replace('#/definitions/', '')] ?? assert.fail(schema.$ref));
}

/** A valid value that is not the default; undefined if the schema has to give one. */
function exampleOf(schema: Schema, standard: unknown): unknown {
  if (schema.examples) return schema.examples[0];
  if (schema.enum) return schema.enum.find((each) => each !== standard);
  if (schema.type === 'boolean') return standard !== true;
  if (schema.type === 'integer' || schema.type === 'number')
    return [7, 7_777].find((n) => n !== standard && n >= (schema.minimum ?? n) && n <= (schema.maximum ?? n));
  if (schema.type === 'string' && schema.pattern === undefined) return 'another';
  const texts = schema.additionalProperties;
  if (schema.type === 'object' && typeof texts === 'object') return { another: 'value' };
  return undefined;
}

function at(tree: unknown, path: readonly string[]): unknown {
  return path.reduce<unknown>(
    (below, name) => (typeof below === 'object' && below !== null ? Reflect.get(below, name) : undefined),
    tree,
  );
}

function nested(path: readonly string[], value: unknown): object {
  return path.reduceRight<unknown>((below, name) => ({ [name]: below }), value) as object;
}

/** Maps are merged, anything else is replaced, as Helm does it. */
function merged(...all: readonly object[]): object {
  const isMap = (value: unknown): value is object =>
    typeof value === 'object' && value !== null && !Array.isArray(value);
  const result: Record<string, unknown> = {};
  for (const [name, value] of all.flatMap((each) => Object.entries(each))) {
    const before = result[name];
    result[name] = isMap(before) && isMap(value) ? merged(before, value) : value;
  }
  return result;
}
