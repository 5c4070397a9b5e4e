import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import type { PushHeader } from '@pushcluster/protocol/push.ts';
import fc from 'fast-check';
import { PublisherCounters } from './publisherCounters.ts';
import { PublisherHeartbeats } from './publisherHeartbeats.ts';

let now = 0;
let heartbeats: PublisherHeartbeats;

beforeEach(() => {
  now = 0;
  heartbeats = new PublisherHeartbeats(() => now);
  heartbeats.listening(true);
  now = 10_000;
});

/** A message of a publisher of a former version, or with beats. */
function header(publisher: string, counter: number, beats: { beat?: number; mark?: number; first?: number } = {}) {
  const { beat = 0, mark = counter, first = 0 } = beats;
  return { publisher, counter, at: 0, begun: 0, beat, mark, first, urgent: false, id: '' } satisfies PushHeader;
}

function subscribed(): PublisherCounters {
  const publishers = new PublisherCounters(heartbeats);
  publishers.inForce();
  return publishers;
}

describe('the publishers of a subject', () => {
  it('are believed at their first message, whatever its counter, where they tell no beats', () => {
    assert.deepEqual(subscribed().accept(header('p', 17), 3), { gap: 0, repeats: 0 });
  });

  it('show a gap by a counter that jumps', () => {
    const publishers = subscribed();
    publishers.accept(header('p', 1), 3);
    assert.deepEqual(publishers.accept(header('p', 4), 1), { gap: 0, repeats: 0 });
    assert.deepEqual(publishers.accept(header('p', 9), 2), { gap: 4, repeats: 0 });
    assert.deepEqual(publishers.accept(header('p', 11), 1), { gap: 0, repeats: 0 });
  });

  it('show it by a message without items too, once', () => {
    const publishers = subscribed();
    publishers.accept(header('p', 1), 3);
    assert.deepEqual(publishers.accept(header('p', 6), 0), { gap: 2, repeats: 0 });
    assert.deepEqual(publishers.accept(header('p', 6), 0), { gap: 0, repeats: 0 });
    assert.deepEqual(publishers.accept(header('p', 6), 1), { gap: 0, repeats: 0 });
  });

  it('show repeats, whole and in part, and are not set back by them', () => {
    const publishers = subscribed();
    publishers.accept(header('p', 1), 5);
    assert.deepEqual(publishers.accept(header('p', 1), 2), { gap: 0, repeats: 2 });
    assert.deepEqual(publishers.accept(header('p', 4), 4), { gap: 0, repeats: 2 });
    assert.deepEqual(publishers.accept(header('p', 8), 1), { gap: 0, repeats: 0 });
    assert.deepEqual(publishers.accept(header('p', 3), 0), { gap: 0, repeats: 0 });
  });

  it('that began after the subscription are asked for all that they counted', () => {
    heartbeats.receive('p', 41);
    const publishers = subscribed();
    assert.deepEqual(publishers.accept(header('p', 4, { beat: 42, mark: 2, first: 42 }), 1), { gap: 3, repeats: 0 });
    assert.deepEqual(publishers.accept(header('p.1', 4, { beat: 42, mark: 2, first: 41 }), 1), { gap: 2, repeats: 0 });
    assert.deepEqual(publishers.accept(header('p.2', 4, { beat: 41, mark: 2, first: 41 }), 1), { gap: 0, repeats: 0 });
    assert.deepEqual(publishers.accept(header('new', 4, { beat: 1, mark: 1, first: 1 }), 1), { gap: 3, repeats: 0 });
  });

  it('show no gap at their first message before the subscription is in force', () => {
    const publishers = new PublisherCounters(heartbeats);
    assert.deepEqual(publishers.accept(header('p', 4, { beat: 9, mark: 1, first: 9 }), 1), { gap: 0, repeats: 0 });
  });

  it('are 64 at most; of one that was forgotten no gap is made up, and later ones are found as before', () => {
    const publishers = subscribed();
    const first = (i: number) => {
      heartbeats.receive(`p${i}`, 1);
      publishers.accept(header(`p${i}`, 1, { beat: 1, first: 1 }), 1);
    };
    for (let i = 0; i < 65; i++) first(i);
    // p0 was the longest silent, and had gone on.
    assert.deepEqual(publishers.accept(header('p0', 50, { beat: 1, first: 1 }), 1), { gap: 0, repeats: 0 });
    // p1 had to go for it: from then on what it sends is looked for by its beats.
    assert.deepEqual(publishers.accept(header('p1', 9, { beat: 2, mark: 7, first: 1 }), 1), { gap: 2, repeats: 0 });
    assert.deepEqual(publishers.accept(header('young', 3, { beat: 1, first: 1 }), 1), { gap: 2, repeats: 0 });
  });

  it('say which items went no further, once, neighbours together', () => {
    const publishers = subscribed();
    publishers.accept(header('p', 1), 9);
    assert.equal(publishers.takeSkipped('p'), undefined);
    publishers.skip('p', 3, 2);
    publishers.skip('p', 5, 1);
    assert.deepEqual(publishers.takeSkipped('p'), { first: 3, count: 3 });
    assert.equal(publishers.takeSkipped('p'), undefined);
    publishers.skip('unknown', 1, 1);
    assert.equal(publishers.takeSkipped('unknown'), undefined);
  });

  it('account for every item: what was new, what was lost, and what came before the subscription', () => {
    const step = fc.record({
      name: fc.constantFrom('a', 'b', 'c'),
      what: fc.constantFrom('push', 'push', 'push', 'beat', 'tell'),
      count: fc.integer({ min: 1, max: 5 }),
      /** Neither beats nor pushes come. */
      away: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80, size: 'max' }), fc.nat(30), (steps, joinAt) => {
        const beats = new PublisherHeartbeats(() => now);
        beats.listening(true);
        now += 10_000;
        const pods = new Map(['a', 'b', 'c'].map((name) => [name, new Pod(name)]));
        let publishers: PublisherCounters | undefined;
        const ends = [...pods.keys()].map((name) => ({ name, what: 'tell', count: 0, away: false }));
        for (const [i, { name, what, count, away }] of [...steps, ...ends].entries()) {
          if (i === joinAt) {
            publishers = new PublisherCounters(beats);
            publishers.inForce();
            for (const pod of pods.values()) pod.before = pod.beat;
          }
          const pod = pods.get(name)!;
          const comes = !publishers || !away;
          if (what === 'beat' || pod.beat === 0) {
            pod.beat++;
            if (comes) beats.receive(name, pod.beat);
          }
          if (what === 'beat' || (what === 'tell' && pod.next === 1)) continue;
          const items = what === 'push' ? count : 0;
          const message = pod.message(items);
          if (!publishers) continue;
          if (!comes) pod.lost += items;
          else {
            const unknown = !pod.known;
            pod.known = true;
            const { gap, repeats } = publishers.accept(message, items);
            assert.equal(repeats, 0);
            // One that had begun before the subscription is asked for what it sent since its last beat alone.
            if (unknown && message.first <= pod.before) assert.ok(gap <= pod.lost, `${gap} of ${pod.lost}`);
            else assert.equal(gap, pod.lost);
            pod.lost = 0;
          }
        }
      }),
      { numRuns: 1_000 },
    );
  });
});

/** A logic process, as far as one subject goes. */
class Pod {
  readonly name: string;
  beat = 0;
  /** Its beat when the subscription came into force. */
  before = 0;
  next = 1;
  /** Items that were sent and did not come since one came, or since the subscription. */
  lost = 0;
  known = false;
  #mark = { beat: 0, counter: 1 };
  #first = 0;

  constructor(name: string) {
    this.name = name;
  }

  /** As logic/publish/publisher.ts numbers its messages. */
  message(items: number): PushHeader {
    if (items > 0 && this.#first === 0) this.#first = this.beat;
    if (items > 0 && this.#mark.beat !== this.beat) this.#mark = { beat: this.beat, counter: this.next };
    const counter = this.next;
    this.next += items;
    return header(this.name, counter, { beat: this.#mark.beat, mark: this.#mark.counter, first: this.#first });
  }
}
