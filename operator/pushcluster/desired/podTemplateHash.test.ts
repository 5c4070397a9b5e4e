import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { desired } from './desired.ts';
import { clusterOf, contextOf } from './fixture.ts';
import { mayRollOut } from './podTemplateHash.ts';

const objects = (spec: Parameters<typeof clusterOf>[0] = {}, context: Parameters<typeof contextOf>[0] = {}) =>
  desired(clusterOf(spec), contextOf(context));

/** The names of the objects that may roll out when `after` is applied over `before`. */
function rolledOut(before: ReturnType<typeof objects>, after: ReturnType<typeof objects>): string[] {
  const observed = new Map(before.map((object) => [`${object.kind} ${object.metadata.name}`, object]));
  return after
    .filter((object) => mayRollOut(object, observed.get(`${object.kind} ${object.metadata.name}`)))
    .map(({ metadata }) => metadata.name);
}

describe('the hash of a pod template', () => {
  const images = { gateway: 'gateway:2', logic: 'logic:2', nats: 'nats:1', natsExporter: 'exporter:1' };

  it('tells that another default image rolls out pods, and that a pinned image does not', () => {
    assert.deepEqual(rolledOut(objects(), objects({}, { images })), ['live-gateway', 'live-logic']);
    const pinned = { image: { gateway: 'gateway:1' } };
    assert.deepEqual(rolledOut(objects(pinned), objects(pinned, { images })), ['live-logic']);
  });

  it('tells that a number of pods and live settings roll out nothing, nor do new objects', () => {
    const spec = { gateway: { replicas: 9, connections: { max: 5 } }, logic: { replicas: 4 } };
    assert.deepEqual(
      rolledOut(objects(), objects(spec, { gatewayReplicas: 9, logicReplicas: 4, releasesOld: true })),
      [],
    );
    assert.deepEqual(rolledOut([], objects()), []);
  });

  it('is missing on objects of an older version: they may roll out', () => {
    const older = objects().map((object) => ({ ...object, metadata: { ...object.metadata, annotations: {} } }));
    assert.deepEqual(rolledOut(older, objects()), ['live-nats', 'live-gateway', 'live-logic']);
  });
});
