import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { mountFailure } from './mountFailures.ts';

const MINUTE = 60_000;
const set = (volume: string, why: string) => `MountVolume.SetUp failed for volume "${volume}" : ${why}`;

describe('what the events of a pod say of its volumes', () => {
  it('names the field that a volume is made of', () => {
    const note = set('tls', 'secret "live-tls" not found');
    const why = (role: 'gateway' | 'logic' | 'nats') => mountFailure([{ at: 0, note }], role);
    assert.equal(why('gateway'), 'volume tls (gateway.service.tls) cannot be mounted: secret "live-tls" not found');
    assert.equal(why('logic'), 'volume tls (logic.service.tls) cannot be mounted: secret "live-tls" not found');
    assert.equal(why('nats'), 'volume tls (nats.managed.tls) cannot be mounted: secret "live-tls" not found');
  });

  it('names a volume of a pod template as it is', () => {
    const note = set('private-ca', 'configmap "private-ca" not found');
    assert.equal(
      mountFailure([{ at: 0, note }], 'gateway'),
      'volume private-ca cannot be mounted: configmap "private-ca" not found',
    );
  });

  it('is of the first volume, whichever was tried last, and not of one that is there by now', () => {
    const [jwt, tls] = [set('jwt', 'references non-existent secret key: secret'), set('tls', 'secret "a" not found')];
    const first = 'volume jwt (auth.jwt) cannot be mounted: references non-existent secret key: secret';
    for (const notes of [
      [jwt, tls],
      [tls, jwt],
    ])
      assert.equal(
        mountFailure(
          notes.map((note, i) => ({ at: i * MINUTE, note })),
          'gateway',
        ),
        first,
      );
    const later = [
      { at: 0, note: jwt },
      { at: 3 * MINUTE, note: tls },
    ];
    assert.equal(
      mountFailure(later, 'gateway'),
      'volume tls (gateway.service.tls) cannot be mounted: secret "a" not found',
    );
  });

  it('is nothing where no event names a volume', () => {
    const late = 'Unable to attach or mount volumes: unmounted volumes=[tls]: timed out waiting for the condition';
    assert.equal(mountFailure([], 'gateway'), undefined);
    assert.equal(mountFailure([{ at: 0, note: late }], 'gateway'), undefined);
  });
});
