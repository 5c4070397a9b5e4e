import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Mark, PublisherHeartbeats } from './publisherHeartbeats.ts';

let now = 0;
let heartbeats: PublisherHeartbeats;

/** @param counts for how long the publisher has counted the subject, milliseconds */
const beatBefore = (mark: Mark, publisher: string, counts = 0) =>
  heartbeats.beatBefore(mark, { publisher, at: 1_000_000 + counts, begun: 1_000_000 });

function listening(): PublisherHeartbeats {
  now = 0;
  heartbeats = new PublisherHeartbeats(() => now);
  heartbeats.listening(true);
  return heartbeats;
}

describe('a mark among heartbeats', () => {
  it('tells the last beat before it, of every count of a process, whatever is heard later', () => {
    listening();
    heartbeats.receive('p', 7);
    const mark = heartbeats.mark();
    heartbeats.receive('p', 8);
    assert.equal(beatBefore(mark, 'p'), 7);
    assert.equal(beatBefore(mark, 'p.3'), 7);
    assert.equal(beatBefore(heartbeats.mark(), 'p'), 8);
  });

  it('is not set back by a beat that comes late', () => {
    listening();
    heartbeats.receive('p', 8);
    heartbeats.receive('p', 7);
    assert.equal(beatBefore(heartbeats.mark(), 'p'), 8);
  });

  it('knows of a process that is not there yet only after all had the time to be heard', () => {
    listening();
    heartbeats.receive('here', 3);
    const early = heartbeats.mark();
    heartbeats.receive('late', 50);
    assert.equal(beatBefore(early, 'here'), 3);
    assert.equal(beatBefore(early, 'late'), undefined, 'it may have been there before');
    now = 2_500;
    heartbeats.receive('late', 52);
    assert.equal(beatBefore(early, 'late'), 52);
    assert.equal(beatBefore(early, 'new'), 0, 'it began after the mark');
    assert.equal(beatBefore(heartbeats.mark(), 'new'), 0);
  });

  it('knows nothing of a process that counted before it, and was not heard: it was cut off from the bus', () => {
    listening();
    now = 10_000;
    const mark = heartbeats.mark();
    now = 15_000;
    assert.equal(beatBefore(mark, 'cut', 5_001), undefined);
    assert.equal(beatBefore(mark, 'new', 5_000), 0);
    assert.equal(beatBefore(mark, 'set', -1), undefined, 'its clock was set');
    assert.equal(heartbeats.beatBefore(mark, { publisher: 'old', at: 1_000_000, begun: 0 }), undefined);
  });

  it('knows less again after the bus was away', () => {
    listening();
    now = 10_000;
    const before = heartbeats.mark();
    heartbeats.listening(false);
    assert.equal(beatBefore(heartbeats.mark(), 'p'), undefined);
    heartbeats.listening(true);
    const after = heartbeats.mark();
    assert.equal(beatBefore(before, 'p'), 0, 'it began since');
    assert.equal(beatBefore(after, 'p'), undefined);
    now = 12_500;
    heartbeats.receive('p', 9);
    assert.equal(beatBefore(after, 'p'), 9);
  });

  it('that is given up is not kept', () => {
    listening();
    const mark = heartbeats.mark();
    heartbeats.forget(mark);
    now = 2_500;
    heartbeats.receive('p', 9);
    assert.equal(beatBefore(mark, 'p'), undefined);
  });

  it('is among 1,024 processes at most', () => {
    listening();
    for (let i = 0; i < 1_025; i++) heartbeats.receive(`p${i}`, 5);
    assert.equal(heartbeats.mark().beats.size, 1_024);
    assert.equal(heartbeats.mark().beats.has('p0'), false);
  });
});
