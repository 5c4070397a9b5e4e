import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { FakeClock } from '@pushcluster/runtime/fakeClock.ts';
import { Client } from './kube/client.ts';
import { Elector } from './kube/elector.ts';
import { KINDS } from './kube/objects.ts';
import { Reflector } from './kube/reflector.ts';
import { livenessProblems } from './liveness.ts';

const idle = (idleFor: number) => ({ idleFor });
const nobody = new Client({
  namespace: 'default',
  send: () => Promise.reject(new Error('nobody is there')),
});

describe('the health of the operator', () => {
  it('is what stands still for longer than it can', () => {
    const pods = { kind: KINDS.pods, idleFor: 299_000 };
    assert.deepEqual(livenessProblems({ reflectors: [pods], elector: idle(59_000), poller: idle(59_000) }), []);
    assert.deepEqual(
      livenessProblems({ reflectors: [{ ...pods, idleFor: 301_000 }], elector: idle(61_000), poller: idle(62_000) }),
      [
        'pods have not been listed or watched for 301 s',
        'the lease has not been checked for 61 s',
        'no pod has been polled for 62 s',
      ],
    );
  });

  it('is not about a lease that the operator does not want, because it cannot work', () => {
    assert.deepEqual(livenessProblems({ reflectors: [], elector: undefined, poller: idle(0) }), []);
  });

  it('is good where the API server does not answer, and bad where nothing was begun', async () => {
    const clock = new FakeClock();
    const reflector = new Reflector({ client: nobody, kind: KINDS.pods, clock });
    const elector = new Elector({ client: nobody, name: 'l', namespace: 'default', identity: 'me', clock });
    const health = () => livenessProblems({ reflectors: [reflector], elector, poller: idle(0) });
    clock.freeze(400_000);
    assert.equal(health().length, 2);
    reflector.start();
    elector.start();
    await clock.pass(600_000, 1_000);
    assert.deepEqual(health(), []);
    assert.ok(reflector.counts.failures > 10);
    await Promise.all([reflector.stop(), elector.stop()]);
    clock.freeze(400_000);
    assert.equal(health().length, 2);
  });
});
