import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { mergePodTemplate } from './mergePodTemplate.ts';

/** A pod template with the lists that have keys, some that have none, and objects in between. */
const text = fc.constantFrom('a', 'b', 'c');
const some = <T>(fields: { [K in keyof T]: fc.Arbitrary<T[K]> }) => fc.record(fields, { requiredKeys: [] });
const keyed = (key: string, fields: Record<string, fc.Arbitrary<unknown>>) =>
  fc.uniqueArray(fc.record({ [key]: text, ...fields }, { requiredKeys: [key] }), {
    maxLength: 3,
    selector: (entry) => entry[key],
  });
const toleration = some({ key: text, operator: fc.constant('Exists') });
const container = {
  env: keyed('name', { value: text }),
  volumeMounts: keyed('mountPath', { name: text, readOnly: fc.boolean() }),
  args: fc.array(text, { maxLength: 2 }),
  resources: some({ requests: fc.dictionary(text, text), limits: fc.dictionary(text, text) }),
  securityContext: some({ privileged: fc.boolean(), capabilities: some({ drop: fc.array(text, { maxLength: 2 }) }) }),
};
const template = some({
  metadata: some({ labels: fc.dictionary(text, text), annotations: fc.dictionary(text, text) }),
  spec: some({
    runtimeClassName: text,
    nodeSelector: fc.dictionary(text, text),
    dnsConfig: some({ nameservers: fc.array(text, { maxLength: 2 }) }),
    tolerations: fc.uniqueArray(toleration, { maxLength: 2, selector: (each) => JSON.stringify(each) }),
    containers: keyed('name', container),
    initContainers: keyed('name', container),
    volumes: keyed('name', { emptyDir: fc.constant({}) }),
    hostAliases: keyed('ip', { hostnames: fc.array(text, { maxLength: 2 }) }),
    imagePullSecrets: keyed('name', {}),
  }),
});

/** The key by which the entries of a list are told apart, if they have one. */
const KEY_OF: Record<string, string> = {
  env: 'name',
  volumeMounts: 'mountPath',
  containers: 'name',
  initContainers: 'name',
  volumes: 'name',
  hostAliases: 'ip',
  imagePullSecrets: 'name',
};

/** Every value of a template with the place where it is: entries of lists with keys by key, other lists as a whole. */
function leaves(value: unknown, path: string, found = new Map<string, unknown>()): Map<string, unknown> {
  const field = path.slice(path.lastIndexOf('/') + 1);
  const key = KEY_OF[field];
  if (Array.isArray(value)) {
    if (key !== undefined) for (const entry of value) leaves(entry, `${path}/[${entry[key]}]`, found);
    else if (field === 'tolerations') for (const entry of value) found.set(`${path}/${JSON.stringify(entry)}`, entry);
    else found.set(path, value);
  } else if (typeof value === 'object' && value !== null)
    for (const [name, below] of Object.entries(value)) leaves(below, `${path}/${name}`, found);
  else found.set(path, value);
  return found;
}

const check = (predicate: (made: object, given: object) => void) =>
  fc.assert(
    // As JSON has it: fast-check also makes objects without a prototype.
    fc.property(template, template, (made, given) =>
      predicate(JSON.parse(JSON.stringify(made)), JSON.parse(JSON.stringify(given))),
    ),
    { numRuns: 500 },
  );

describe('a pod template over that of the operator', () => {
  it('changes nothing where there is none, or an empty one', () => {
    check((made) => {
      assert.equal(mergePodTemplate(made, undefined), made);
      assert.deepEqual(mergePodTemplate(made, {}), made);
    });
  });

  it('has all of what is given, and of the rest what the operator made', () => {
    check((made, given) => {
      const wanted = new Map([...leaves(made, ''), ...leaves(given, '')]);
      assert.deepEqual(new Map([...leaves(mergePodTemplate(made, given), '')].sort()), new Map([...wanted].sort()));
    });
  });

  it('is the same if it is merged again', () => {
    check((made, given) => {
      const merged = mergePodTemplate(made, given);
      assert.deepEqual(mergePodTemplate(merged, given), merged);
    });
  });

  it('leaves both as they are', () => {
    check((made, given) => {
      const before = structuredClone([made, given]);
      mergePodTemplate(made, given);
      assert.deepEqual([made, given], before);
    });
  });

  it('has what the operator made first, in its order', () => {
    const made = { containers: [{ name: 'gateway' }, { name: 'z' }] };
    const given = { containers: [{ name: 'a' }, { name: 'z', image: 'z' }, { name: 'gateway', image: 'g' }] };
    assert.deepEqual(mergePodTemplate(made, given), {
      containers: [{ name: 'gateway', image: 'g' }, { name: 'z', image: 'z' }, { name: 'a' }],
    });
  });

  it('tells constraints and ports apart by both of their keys, where TCP goes without saying', () => {
    const made = {
      topologySpreadConstraints: [{ topologyKey: 'node', whenUnsatisfiable: 'ScheduleAnyway', maxSkew: 1 }],
      ports: [{ containerPort: 1, protocol: 'TCP', name: 'a' }],
    };
    const given = {
      topologySpreadConstraints: [
        { topologyKey: 'node', whenUnsatisfiable: 'ScheduleAnyway', maxSkew: 2 },
        { topologyKey: 'node', whenUnsatisfiable: 'DoNotSchedule', maxSkew: 3 },
      ],
      ports: [
        { containerPort: 1, name: 'b' },
        { containerPort: 1, protocol: 'UDP' },
      ],
    };
    assert.deepEqual(mergePodTemplate(made, given), {
      topologySpreadConstraints: given.topologySpreadConstraints,
      ports: [
        { containerPort: 1, protocol: 'TCP', name: 'b' },
        { containerPort: 1, protocol: 'UDP' },
      ],
    });
  });

  it('takes fields whose names every object has', () => {
    const given = { toString: [1], constructor: { valueOf: [{ name: 'a' }] } };
    assert.deepEqual(mergePodTemplate({ a: 1 }, given), { a: 1, ...given });
  });

  it('takes away what is null, and has no null itself', () => {
    const made = { securityContext: { runAsUser: 1, runAsGroup: 2 }, affinity: { podAntiAffinity: {} } };
    const given = { securityContext: { runAsUser: null }, affinity: null, dnsConfig: { options: null } };
    assert.deepEqual(mergePodTemplate(made, given), { securityContext: { runAsGroup: 2 }, dnsConfig: {} });
  });
});
