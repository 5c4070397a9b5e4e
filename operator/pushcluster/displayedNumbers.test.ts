import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { displayedConnections, displayedNumbers, replacedIn } from './displayedNumbers.ts';
import type { PodStatusSummary } from './podStatusSummary.ts';

describe('the number of connections that is shown', () => {
  it('follows after 30 s, by 5 % and more, and to and from nothing', () => {
    const shown = { connections: 1_000, age: 30_000 };
    assert.equal(displayedConnections(undefined, 5), 5);
    assert.equal(displayedConnections(shown, 1_050), 1_000);
    assert.equal(displayedConnections(shown, 1_051), 1_051);
    assert.equal(displayedConnections({ ...shown, age: 29_999 }, 2_000), 1_000);
    assert.equal(displayedConnections(shown, 0), 0);
    assert.equal(displayedConnections({ ...shown, connections: 0 }, 1), 1);
  });
});

describe('what is shown of it', () => {
  const some = (change: Partial<PodStatusSummary>): PodStatusSummary => ({
    connections: 100,
    isCounted: true,
    left: undefined,
    refusals: [],
    ignored: [],
    historyFailures: [],
    fdLimits: [],
    behind: [],
    silent: [],
    notReady: [],
    fullest: undefined,
    ...change,
  });

  it('rests for 30 s, what is left of a drain for 10 s, and is nothing before all were counted', () => {
    assert.equal(displayedNumbers(undefined, some({ isCounted: false }), 0).connections, undefined);
    const first = displayedNumbers(undefined, some({ left: 50 }), 0);
    assert.deepEqual([first.connections, first.left], [100, 50]);
    const soon = displayedNumbers(
      first,
      some({ connections: 500, left: 40, fullest: { pod: 'a', what: 'fds', share: 0.9 } }),
      9_999,
    );
    assert.deepEqual([soon.connections, soon.left, soon.fullest], [100, 50, undefined]);
    const later = displayedNumbers(soon, some({ connections: 500, left: 40 }), 10_000);
    assert.deepEqual([later.connections, later.left], [100, 40]);
    const last = displayedNumbers(
      later,
      some({ connections: 500, left: 0, fullest: { pod: 'a', what: 'fds', share: 0.93 } }),
      30_000,
    );
    assert.deepEqual([last.connections, last.left], [500, 0]);
    assert.deepEqual(last.fullest, { pod: 'a', what: 'fds', share: 0.9 });
    assert.equal(displayedNumbers(last, some({ isCounted: false, connections: 1 }), 90_000).connections, 500);
  });

  it('is looked at again when it may change, where it is not what is counted', () => {
    const first = displayedNumbers(undefined, some({}), 0);
    assert.equal(replacedIn(first, some({}), 5_000), undefined);
    assert.equal(replacedIn(first, some({ connections: 104 }), 5_000), undefined);
    assert.equal(replacedIn(first, some({ connections: 500 }), 5_000), 25_000);
    assert.equal(replacedIn(first, some({ connections: 500, isCounted: false }), 5_000), undefined);
    assert.equal(replacedIn(first, some({ fullest: { pod: 'a', what: 'fds', share: 0.9 } }), 5_000), 25_000);
    const later = displayedNumbers(first, some({ connections: 500 }), 30_000);
    assert.equal(replacedIn(later, some({ connections: 500 }), 30_000), undefined);
  });
});
