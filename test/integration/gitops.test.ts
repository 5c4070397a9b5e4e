import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { PushCluster } from '@pushcluster/operator/api/pushCluster.ts';
import { type ControlPlane, startControlPlane } from '../harness/cluster/controlPlane.ts';
import { apply } from '../harness/cluster/kubectl.ts';
import { OperatorProcess } from '../harness/cluster/operatorProcess.ts';
import { until } from '../harness/until.ts';

const run = promisify(execFile);
const PAGE = readFileSync(new URL('../../docs/how-to/gitops.md', import.meta.url), 'utf8');
const SCRIPT = /^```lua\n(.*?)^```$/ms.exec(PAGE)?.[1] ?? assert.fail('the page has no script');

describe('the health check for Argo CD', () => {
  const folder = mkdtempSync(join(tmpdir(), 'pushcluster-lua-'));
  after(() => rmSync(folder, { recursive: true }));

  /** What the script of the page makes of an object: status and message. */
  async function health(object: object): Promise<string> {
    const file = join(folder, 'health.lua');
    writeFileSync(
      file,
      `obj = ${luaOf(object)}\nlocal found = (function()\n${SCRIPT}\nend)()\nprint(found.status .. ": " .. found.message)`,
    );
    return (await run('lua5.1', [file])).stdout.trim();
  }
  const condition = (type: string, status: string, reason = type) => ({ type, status, reason, message: `of ${type}` });
  const object = (status?: object, spec: object = {}) => ({
    metadata: { generation: 3 },
    spec,
    ...(status ? { status } : {}),
  });
  const observed = (...conditions: object[]) => ({ observedGeneration: 3, conditions });
  const ready = [condition('Ready', 'True'), condition('Available', 'True'), condition('Degraded', 'False')];

  for (const [what, given, expected] of [
    ['waits while nobody has looked at it', object(), 'Progressing: waiting for the operator'],
    ['waits while there are no conditions', object({ observedGeneration: 3 }), 'Progressing: waiting for the operator'],
    [
      'waits while the status is of an earlier spec',
      object({ ...observed(...ready), observedGeneration: 2 }),
      'Progressing: waiting for the operator',
    ],
    ['is healthy where it is ready', object(observed(...ready)), 'Healthy: of Ready'],
    [
      'goes on where it is not ready',
      object(observed(condition('Ready', 'False'), condition('Available', 'True'), condition('Degraded', 'False'))),
      'Progressing: of Ready',
    ],
    [
      'is degraded where something is wrong',
      object(observed(condition('Ready', 'False'), condition('Degraded', 'True'))),
      'Degraded: of Degraded',
    ],
    [
      'is suspended where it has no gateways on purpose',
      object(observed(condition('Ready', 'False'), condition('Available', 'False', 'ScaledToZero'))),
      'Suspended: of Available',
    ],
    ['is suspended while it is paused', object(undefined, { paused: true }), 'Suspended: spec.paused is true'],
  ] as [string, object, string][]) {
    it(what, async () => {
      assert.equal(await health(given), expected);
    });
  }

  describe('and manifests that are applied again', () => {
    let plane: ControlPlane;
    let operator: OperatorProcess;
    before(async () => {
      plane = await startControlPlane();
      operator = await OperatorProcess.startOn(plane);
    });
    after(async () => {
      await operator?.end('SIGKILL');
      await plane?.stop();
    });

    const autoscaling = { minReplicas: 2, maxReplicas: 5, targetConnections: 100 };
    for (const [name, spec] of Object.entries({
      small: { gateway: { drain: { rate: 100 } } },
      replicas: { gateway: { replicas: 3 } },
      autoscaled: { gateway: { autoscaling }, logic: { autoscaling: { maxReplicas: 4 } } },
      full: {
        image: { gateway: 'gateway:1' },
        gateway: {
          resources: { limits: { cpu: 2, memory: '1Gi' } },
          service: { type: 'ClusterIP', annotations: { a: 'b' } },
        },
        rooms: [{ match: 'live-*', batching: { maxDelay: '2s' } }],
        nats: { managed: { replicas: 3 } },
      },
    }))
      for (const way of [
        ['--server-side', '--force-conflicts', '--field-manager=argocd-controller'],
        ['--server-side', '--field-manager=helm'],
        [],
      ])
        it(`show no difference: ${name}, ${way.at(-1) ?? 'client-side'}`, async () => {
          const namespace = `${name}-${way.length}`;
          await apply(plane.kubectl, [{ apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } }]);
          const head = { apiVersion: 'pushcluster.dev/v1alpha1', kind: 'PushCluster' };
          const manifest = JSON.stringify({ ...head, metadata: { name: 'live', namespace }, spec });
          await plane.kubectl(['apply', ...way, '-f', '-'], manifest);
          const get = async () =>
            PushCluster.parse(JSON.parse(await plane.kubectl(['get', 'push/live', '-n', namespace, '-o=json'])));
          await until('the operator has written what it writes', async () => {
            const { metadata, spec, status } = await get();
            return spec.gateway.replicas !== undefined && status?.observedGeneration === metadata.generation;
          });
          const { generation } = (await get()).metadata;
          // Ends with 1 where there is a difference.
          assert.equal(await plane.kubectl(['diff', ...way, '-f', '-'], manifest), '');
          await plane.kubectl(['apply', ...way, '-f', '-'], manifest);
          const again = await get();
          assert.equal(again.metadata.generation, generation);
          const told = await health(JSON.parse(await plane.kubectl(['get', 'push/live', '-n', namespace, '-o=json'])));
          assert.match(told, /^Progressing: /);
        });
  });
});

/** A value as a literal of Lua. */
function luaOf(value: unknown): string {
  if (value === null || value === undefined) return 'nil';
  if (Array.isArray(value)) return `{${value.map(luaOf).join(', ')}}`;
  if (typeof value === 'object')
    return `{${Object.entries(value)
      .map(([key, each]) => `[${JSON.stringify(key)}] = ${luaOf(each)}`)
      .join(', ')}}`;
  // Escapes of JSON that Lua 5.1 does not know.
  return typeof value === 'string' ? JSON.stringify(value).replace(/\\u[0-9a-f]{4}/g, '?') : String(value);
}
