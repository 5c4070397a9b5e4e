import assert from 'node:assert/strict';
import { it } from 'node:test';
import type { PodStatus } from '@pushcluster/protocol/podStatus.ts';
import { FakeClock } from '@pushcluster/runtime/fakeClock.ts';
import { BYTES_METRIC, CONNECTIONS_METRIC } from './api.ts';
import { GatewaySource } from './gatewaySource.ts';

const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'live-gateway-a', namespace: 'shop', uid: 'a' } };
const status = (connections: number, bytesSentTotal: number) => {
  const said: Pick<PodStatus, 'role' | 'connections' | 'bytesSentTotal'> = {
    role: 'gateway',
    connections,
    bytesSentTotal,
  };
  return { status: said as PodStatus };
};

it('rates and ages of gateways are right whatever the wall clock is set to, which tells when a value was', () => {
  for (const step of [0, 3_600_000, -3_600_000]) {
    const clock = new FakeClock();
    const source = new GatewaySource(() => [], clock);
    source.heard(pod, status(10, 1_000));
    clock.advance(10_000);
    clock.step(step);
    source.heard(pod, status(20, 6_000));
    clock.advance(3_000);
    const at = clock.wall() - 3_000;
    assert.deepEqual(source.value('a', BYTES_METRIC), { value: 500, at, windowSeconds: 10 });
    assert.deepEqual(source.value('a', CONNECTIONS_METRIC), { value: 20, at });
    clock.step(-step);
    assert.equal(source.value('a', CONNECTIONS_METRIC)?.value, 20);
    clock.advance(17_001);
    assert.equal(source.value('a', CONNECTIONS_METRIC), undefined);
  }
});
