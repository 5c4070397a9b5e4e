import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { FakeClock } from '@pushcluster/runtime/fakeClock.ts';
import { Client } from './client.ts';
import { EventRecorder } from './eventRecorder.ts';
import { FakeApi } from './fakeApi.ts';

const about = {
  apiVersion: 'pushcluster.dev/v1alpha1',
  kind: 'PushCluster',
  metadata: { name: 'live', namespace: 'shop', uid: 'u1' },
};
const event = (note: string) => ({ type: 'Normal', reason: 'Scaling', action: 'Reconcile', note }) as const;

function fixture() {
  const clock = new FakeClock();
  const api = new FakeApi();
  const troubles: unknown[] = [];
  const recorder = new EventRecorder(new Client(api), 'operator-0', {
    clock,
    onTrouble: (error) => troubles.push(error),
  });
  return { clock, api, recorder, troubles };
}

describe('an event recorder', () => {
  it("writes what was said about an object, in that object's namespace", async () => {
    const { api, recorder } = fixture();
    recorder.record(about, event('from 2 to 3'));
    await recorder.flush();
    assert.deepEqual(api.requests, ['POST /apis/events.k8s.io/v1/namespaces/shop/events']);
    const [written] = api.objects.values();
    assert.match(written?.metadata.name ?? '', /^live\.[0-9a-f]{20}$/);
    assert.equal(JSON.parse(JSON.stringify(written)).note, 'from 2 to 3');
  });

  it('names events so that they are listed in the order in which they happened', async () => {
    const { api, clock, recorder } = fixture();
    const notes = Array.from({ length: 20 }, (_, step) => `step ${step}`);
    for (const [step, note] of notes.entries()) {
      if (step % 5 === 0) clock.advance(7);
      recorder.record(about, event(note));
    }
    await recorder.flush();
    const byName = [...api.objects].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, object]) => object);
    assert.deepEqual(
      byName.map((object) => JSON.parse(JSON.stringify(object)).note),
      notes,
    );
  });

  it('counts what is said again within ten minutes, and writes the count once a minute at most', async () => {
    const { clock, api, recorder } = fixture();
    for (let second = 0; second < 150; second++) {
      recorder.record(about, event('from 2 to 3'));
      clock.advance(1_000);
    }
    await recorder.flush();
    assert.equal(api.writes.length, 1 + 2);
    const [written] = api.objects.values();
    assert.equal(JSON.parse(JSON.stringify(written)).series.count, 150);
    clock.advance(600_000);
    recorder.record(about, event('from 2 to 3'));
    await recorder.flush();
    assert.equal(api.objects.size, 2);
  });

  it('writes at most 25 different events of an object at once, and then one in five minutes', async () => {
    const { clock, recorder } = fixture();
    for (let each = 0; each < 40; each++) recorder.record(about, event(`step ${each}`));
    await recorder.flush();
    assert.deepEqual([recorder.counts.written, recorder.counts.limited], [25, 15]);
    clock.advance(300_000);
    for (let each = 40; each < 50; each++) recorder.record(about, event(`step ${each}`));
    await recorder.flush();
    assert.deepEqual([recorder.counts.written, recorder.counts.limited], [26, 24]);
  });

  it('holds at most 100 events that wait to be sent', async () => {
    const { api, recorder } = fixture();
    const gate = Promise.withResolvers<void>();
    api.onRequest = () => gate.promise;
    for (let each = 0; each < 130; each++)
      recorder.record({ ...about, metadata: { ...about.metadata, uid: `u${each}` } }, event('from 2 to 3'));
    assert.equal(recorder.counts.dropped, 30);
    gate.resolve();
    await recorder.flush();
    assert.equal(recorder.counts.written, 100);
  });

  it('drops an event that cannot be written, says so, and goes on', async () => {
    const { api, recorder, troubles } = fixture();
    api.onRequest = () => {
      throw new Error('cut');
    };
    recorder.record(about, event('one'));
    await recorder.flush();
    api.onRequest = () => {};
    recorder.record(about, event('two'));
    await recorder.flush();
    assert.deepEqual([recorder.counts.failed, recorder.counts.written, troubles.length], [1, 1, 1]);
  });

  it('cuts a note that is longer than the API takes', async () => {
    const { api, recorder } = fixture();
    recorder.record(about, event('x'.repeat(5_000)));
    await recorder.flush();
    const [written] = api.objects.values();
    assert.equal(JSON.parse(JSON.stringify(written)).note.length, 1_000);
  });
});
