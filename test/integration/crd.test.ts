import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { crd } from '@pushcluster/operator/api/crd.ts';
import { PushCluster, Spec } from '@pushcluster/operator/api/pushCluster.ts';
import { type ControlPlane, startControlPlane } from '../harness/cluster/controlPlane.ts';
import { apply, established } from '../harness/cluster/kubectl.ts';
import { pushCluster, refusals, ruleMessages } from '../harness/refusals.ts';
import { until } from '../harness/until.ts';

let plane: ControlPlane;
before(async () => {
  plane = await startControlPlane();
  await apply(plane.kubectl, [crd()]);
  await established(plane.kubectl, 'pushclusters.pushcluster.dev');
});
after(() => plane.stop());

/** What the API server makes of it, without keeping it. */
async function tried(object: object): Promise<PushCluster> {
  const args = ['apply', '--dry-run=server', '--validate=strict', '-o', 'json', '-f', '-'];
  return PushCluster.parse(JSON.parse(await plane.kubectl(args, JSON.stringify(object))));
}

/** Messages of rules that the API server has refused something by. */
const provoked = new Set<string>();

async function refused(attempt: Promise<unknown>, says: RegExp): Promise<void> {
  await assert.rejects(attempt, (error) => {
    assert.ok(error instanceof Error);
    for (const message of ruleMessages()) if (error.message.includes(message)) provoked.add(message);
    assert.match(error.message, says);
    return true;
  });
}

describe('a PushCluster is accepted', () => {
  it('with an empty spec, which gets all defaults', async () => {
    assert.deepEqual((await tried(pushCluster({}))).spec, Spec.parse({}));
  });

  it('without a spec at all', async () => {
    const { spec: _, ...rest } = pushCluster({});
    assert.deepEqual((await tried(rest)).spec, Spec.parse({}));
  });

  it('with one key set, and the defaults around it', async () => {
    const { spec } = await tried(pushCluster({ gateway: { drain: { rate: 3 } } }));
    assert.deepEqual(spec, Spec.parse({ gateway: { drain: { rate: 3 } } }));
  });

  it('with amounts as numbers and as text', async () => {
    const { spec } = await tried(
      pushCluster({ gateway: { shards: 4, resources: { limits: { cpu: 4, memory: '2Gi' } } } }),
    );
    assert.deepEqual(spec.gateway.resources, { limits: { cpu: 4, memory: '2Gi' } });
  });

  it('with a memory limit of NATS that four times its storage in memory fits into', async () => {
    const limited = (memory: string | number, size: object = {}) =>
      pushCluster({
        nats: { managed: { jetstream: { storage: 'memory', ...size }, resources: { limits: { memory } } } },
      });
    for (const memory of ['128Mi', 4 * 32 * 1_048_576, '1G']) await tried(limited(memory));
    await tried(limited('4Gi', { size: '1GiB' }));
  });

  it('with origins in any spelling that can be put right', async () => {
    const allowedOrigins = [
      'https://Example.com:443/',
      'https://*.example.com:*',
      'http://[::1]:3000',
      'null',
      '*',
    ].concat(['https://münchen.example', 'capacitor://localhost', '*.example.com', 'http*://a.example', 'wsx://a']);
    assert.deepEqual((await tried(pushCluster({ auth: { allowedOrigins } }))).spec.auth.allowedOrigins, allowedOrigins);
  });

  it('and scaled by kubectl', async () => {
    await apply(plane.kubectl, [pushCluster({}, 'scaled')]);
    await plane.kubectl(['scale', 'pushcluster/scaled', '--replicas=5']);
    const path = '-o=jsonpath={.spec.gateway.replicas}';
    assert.equal(await plane.kubectl(['get', 'pushcluster', 'scaled', path]), '5');
    assert.match(
      await plane.kubectl(['get', 'push', 'scaled']),
      /^NAME +READY +REASON +GATEWAYS +CONNECTIONS +ENDPOINT +VERSION +AGE\n/,
    );
  });

  it('and its status is not changed with its spec', async () => {
    const { status } = await tried({ ...pushCluster({}), status: { version: 'made up' } });
    assert.equal(status, undefined);
  });
});

describe('a change of what managed NATS stores', () => {
  const memory = { storage: 'memory' };
  const file = { storage: 'file', size: '2GiB' };
  const managed = (jetstream: object | undefined, replicas = 3) =>
    pushCluster({ nats: { managed: { replicas, ...(jetstream ? { jetstream } : {}) } } }, 'storing');
  const rows: [what: string, from: object, to: object, says: RegExp | undefined][] = [
    ['that turns it on, with more servers', managed(undefined, 1), managed(file), undefined],
    ['from memory to volumes', managed(memory), managed({ ...file, storageClassName: 'fast' }), undefined],
    ['from volumes to memory of another size', managed(file), managed({ ...memory, size: '32MiB' }), undefined],
    ['to the same size in other words', managed(file), managed({ ...file, size: '2048Mi' }), undefined],
    ['that removes it, with fewer servers', managed(file), managed(undefined, 1), undefined],
    ['of the number of servers', managed(file), managed(file, 5), /nats\.managed\.replicas cannot be changed while/],
    ['to larger volumes', managed(file), managed({ ...file, size: '3GiB' }), /jetstream\.size cannot be changed/],
    [
      'to volumes of the default size',
      managed(file),
      managed({ storage: 'file' }),
      /jetstream\.size cannot be changed/,
    ],
    [
      'of the class of volumes',
      managed(file),
      managed({ ...file, storageClassName: 'fast' }),
      /jetstream\.storageClassName cannot be changed/,
    ],
  ];
  for (const [what, from, to, says] of rows)
    it(`${what} is ${says ? 'refused' : 'accepted'}`, async () => {
      await plane.kubectl(['delete', 'pushcluster', 'storing', '--ignore-not-found']);
      await apply(plane.kubectl, [from]);
      const replaced = plane.kubectl(['replace', '-f', '-'], JSON.stringify(to));
      await (says ? refused(replaced, says) : replaced);
    });
});

describe('a PushCluster is refused with a message that names the field:', () => {
  for (const { what, object, says } of refusals()) it(what, () => refused(tried(object), says));

  it('by every rule that there is', () => {
    assert.deepEqual(
      [...ruleMessages()].filter((message) => !provoked.has(message)),
      [],
    );
  });
});

describe('a PushCluster of the time when the Service was a load balancer by default', () => {
  const type = async (name: string) =>
    (await plane.kubectl(['get', 'push', name, '-o=jsonpath={.spec.gateway.service.type}'])) || 'none';
  const text = (name: string) => JSON.stringify(pushCluster({ gateway: { replicas: 3 } }, name));
  const serverSide = ['apply', '--server-side', '-f', '-'];

  /** Replaces the CRD, and waits until its default counts. */
  async function serve(definition: object, fallback: string): Promise<void> {
    await apply(plane.kubectl, [definition]);
    await until(
      `${fallback} is the default`,
      async () => (await tried(pushCluster({}))).spec.gateway.service.type === fallback,
    );
  }

  it('keeps its load balancer when the CRD is upgraded, and when its manifest is applied again', async () => {
    const now = JSON.stringify(crd());
    const enumeration = '"enum":["LoadBalancer"';
    const earlier = now.replace(`"default":"ClusterIP",${enumeration}`, `"default":"LoadBalancer",${enumeration}`);
    assert.notEqual(earlier, now);
    await serve(JSON.parse(earlier), 'LoadBalancer');
    await plane.kubectl(['apply', '-f', '-'], text('by-client'));
    await plane.kubectl(serverSide, text('by-server'));
    await serve(crd(), 'ClusterIP');
    await plane.kubectl(['apply', '-f', '-'], text('by-client'));
    await plane.kubectl(serverSide, text('by-server'));
    assert.deepEqual([await type('by-client'), await type('by-server')], ['LoadBalancer', 'LoadBalancer']);
  });

  it('loses it where its manifest is replaced as a whole, as a new one has none', async () => {
    await plane.kubectl(['replace', '-f', '-'], text('by-client'));
    await plane.kubectl(serverSide, text('new'));
    assert.deepEqual([await type('by-client'), await type('new')], ['ClusterIP', 'ClusterIP']);
  });
});
