import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { PushCluster } from '@pushcluster/operator/api/pushCluster.ts';
import { settingsText } from '@pushcluster/operator/pushcluster/desired/settingsConfigMap.ts';
import { staticSettingsHash } from '@pushcluster/operator/pushcluster/desired/staticSettingsHash.ts';
import { InvalidSettings } from '@pushcluster/operator/pushcluster/desired/validSettings.ts';
import { liveSettingsHash } from '@pushcluster/operator/pushcluster/liveSettingsReload.ts';
import { readSettings } from '@pushcluster/runtime/tolerantSettings.ts';
import fc from 'fast-check';
import { z } from 'zod';
import { Baseline, functionOf, schemaOf } from '../harness/baseline.ts';
import { anySpec } from '../harness/pushClusters.ts';

/** PushClusters tried with each role. */
const RUNS = 100;

type Role = 'gateway' | 'logic';
type Text = (cluster: object, role: Role) => string;

const OldOperator = z.object({
  settingsText: functionOf<Text>(),
  staticHash: functionOf<Text>(),
  settingsHash: functionOf<Text>(),
});
const OldApi = z.object({ PushCluster: schemaOf<PushCluster>() });
const OldRuntime = z.object({ parseSettings: functionOf<(text: string, name: string) => object>() });

let baseline: Baseline;
let operator: z.infer<typeof OldOperator>;
let api: z.infer<typeof OldApi>;
let runtime: z.infer<typeof OldRuntime>;
before(async () => {
  baseline = new Baseline();
  operator = await baseline.load('operator/pushcluster/desired/settings.ts', OldOperator);
  api = await baseline.load('operator/api/pushCluster.ts', OldApi);
  runtime = await baseline.load('runtime/settings.ts', OldRuntime);
});
after(() => baseline.remove());

/**
 * A PushCluster that the baseline's API server accepts, as it is stored there: without fields that came later, and with
 * that version's defaults. Undefined if a value of `spec` came later.
 */
function stored(spec: object): object | undefined {
  const metadata = { name: 'live', namespace: 'shop', uid: 'uid', generation: 7 };
  return api.PushCluster.safeParse({ metadata, spec }).data;
}

/** Runs `check` for PushClusters of the baseline and both roles; those with invalid settings have no file. */
function forStored(check: (old: object, cluster: PushCluster, role: Role) => void): void {
  let checked = 0;
  fc.assert(
    fc.property(anySpec(), fc.constantFrom<Role>('gateway', 'logic'), (spec, role) => {
      const old = stored(spec);
      if (old === undefined) return;
      const cluster = PushCluster.parse(old);
      try {
        staticSettingsHash(cluster, role);
      } catch (error) {
        if (error instanceof InvalidSettings) return;
        throw error;
      }
      checked++;
      check(old, cluster, role);
    }),
    { numRuns: RUNS },
  );
  assert.ok(checked > RUNS / 3, `only ${checked} of ${RUNS} PushClusters are the baseline's too`);
}

describe('settings between the baseline and this version', () => {
  it('of this operator are read by the old gateway and logic, and mean what the old operator would have meant', () => {
    forStored((old, cluster, role) => {
      const today = runtime.parseSettings(settingsText(cluster, role), `${role}.yaml`);
      assert.deepEqual(today, runtime.parseSettings(operator.settingsText(old, role), `${role}.yaml`));
    });
  });

  it('of the old operator are read by this gateway and logic, and mean what this operator means', () => {
    forStored((old, cluster, role) => {
      const today = readSettings(settingsText(cluster, role), `${role}.yaml`);
      assert.deepEqual(today.ignored, []);
      assert.deepEqual(readSettings(operator.settingsText(old, role), `${role}.yaml`), today);
    });
  });

  it('roll out no pods when the operator is upgraded or rolled back: their hash is the same', () => {
    forStored((old, cluster, role) =>
      assert.equal(staticSettingsHash(cluster, role), operator.staticHash(old, role), JSON.stringify(cluster.spec)),
    );
  });

  it('are not announced to pods again when the operator is upgraded: the hash of live settings is the same', () => {
    forStored((old, cluster, role) =>
      assert.equal(liveSettingsHash(cluster, role), operator.settingsHash(old, role), JSON.stringify(cluster.spec)),
    );
  });

  it('with a history are read by a gateway that does not know histories: it ignores that, and nothing else', () => {
    const metadata = { name: 'live', namespace: 'shop', uid: 'uid' };
    const rooms = [
      { match: 'chat-*', batching: { maxItems: 9 }, history: {} },
      { match: '*', batching: { maxItems: 7 } },
    ];
    const nats = { managed: { jetstream: { storage: 'memory' } } };
    const text = settingsText(PushCluster.parse({ metadata, spec: { rooms, nats } }), 'gateway');
    const { settings, ignored } = readSettings(text.replace('history:', 'unheardOf:'), 'gateway.yaml');
    assert.deepEqual(ignored, ['rooms.0.unheardOf: unknown key']);
    assert.deepEqual(
      settings.rooms.map(({ match, batching }) => [match, batching?.maxItems]),
      [
        ['chat-*', 9],
        ['*', 7],
      ],
    );
  });
});
