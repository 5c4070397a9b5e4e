import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  changedConfig,
  hasRoomsBack,
  historyStream,
  retiredConfig,
  type StreamInfo,
  stateOf,
  streamConfig,
} from './historyStream.ts';

const RULES = { match: 'live-*', messages: 10, maxAge: 60_000, replicas: 1, storage: 'file', earlier: [] } as const;
const STREAM = historyStream('pushcluster', RULES.match);
const BEGAN = Date.parse('2026-11-30T12:00:00Z');

/** A stream that holds the pushes from `first` to `last`, `age` milliseconds after the first one. */
function infoOf(
  config: object,
  {
    first = 1,
    last = 4,
    messages,
    age = 1_000,
  }: { first?: number; last?: number; messages?: number; age?: number } = {},
): StreamInfo {
  return {
    config: config as StreamInfo['config'],
    created: '2026-11-30T11:00:00Z',
    ts: new Date(BEGAN + age).toISOString(),
    state: {
      first_seq: first,
      last_seq: last,
      messages: messages ?? last - first + 1,
      bytes: 0,
      first_ts: new Date(BEGAN).toISOString(),
    },
  };
}

const made = () => streamConfig(STREAM, RULES, 'nonce');
const floorIn = (info: StreamInfo) => stateOf(info, STREAM).floor;
/** The same stream while its limits are being raised. */
const raising = (config: object, rules = { messages: 20 }) =>
  changedConfig(infoOf(config), { ...RULES, ...rules }) ?? assert.fail('nothing is raised');

describe('the floor of a stream whose limits are being raised', () => {
  it('is below all that the stream has, if that is all there was and half of what it kept', () => {
    const config = raising(made());
    assert.equal(floorIn(infoOf(config)), 0);
    assert.equal(floorIn(infoOf(config, { first: 3, last: 7 })), 2, 'what was before those is gone');
    assert.equal(floorIn(infoOf(config, { first: 8, last: 7 })), 7, 'nothing is there');
  });

  it('is unknown where the former limits may have removed something, at any server', () => {
    const config = raising(made());
    const states = {
      'a push between them is gone': { last: 5, messages: 4 },
      'a room may be near its limit': { last: 6 },
      'the oldest may have expired at another server': { age: 31_000 },
    };
    for (const [why, state] of Object.entries(states))
      assert.equal(floorIn(infoOf(config, state)), Number.POSITIVE_INFINITY, why);
  });

  it('counts by the least of several former limits', () => {
    const config = raising(raising(made()), { messages: 40 });
    assert.equal(floorIn(infoOf(config, { last: 5 })), 0);
    assert.equal(floorIn(infoOf(config, { last: 6 })), Number.POSITIVE_INFINITY);
  });

  it('is unknown where nobody wrote down the former limits', () => {
    const { metadata, ...config } = raising(made()) as StreamInfo['config'];
    const { 'pushcluster.before': _, ...others } = metadata!;
    assert.equal(floorIn(infoOf({ ...config, metadata: others })), Number.POSITIVE_INFINITY);
    const again = raising({ ...config, metadata: others }, { messages: 40 });
    assert.equal(floorIn(infoOf(again)), Number.POSITIVE_INFINITY);
  });

  it('is written down by the second update', () => {
    const config = raising(made());
    const rules = { ...RULES, messages: 20 };
    for (const [info, floor] of [
      [infoOf(config), 0],
      [infoOf(config, { last: 6 }), 6],
    ] as const) {
      const raised = changedConfig(info, rules) as StreamInfo['config'];
      assert.equal(raised.metadata?.['pushcluster.before'], undefined);
      assert.equal(floorIn(infoOf(raised, { last: 30, messages: 20 })), floor);
      assert.equal(changedConfig(infoOf(raised), rules), undefined);
    }
  });
});

describe('a stream whose rooms had another policy for a while', () => {
  const epochIn = (config: object) => stateOf(infoOf(config), STREAM).epoch;
  const ensured = (config: object, earlier: readonly string[] = []) =>
    changedConfig(infoOf(config), { ...RULES, earlier }) ?? config;
  const first = epochIn(made());

  it('is retired while its policy is gone, and another history once that is back', () => {
    const retired = retiredConfig(infoOf(made())) ?? assert.fail('it is not retired');
    assert.deepEqual([epochIn(retired), hasRoomsBack(infoOf(retired), RULES)], [first, true]);
    assert.equal(retiredConfig(infoOf(retired)), undefined);
    const back = ensured(retired);
    assert.notEqual(epochIn(back), first);
    assert.equal(hasRoomsBack(infoOf(back), RULES), false);
    assert.deepEqual(ensured(retired), back, 'all processes make it the same one');
    assert.equal(changedConfig(infoOf(back), RULES), undefined);
  });

  it('is the same history while earlier policies take some of its rooms, and another once one of them is gone', () => {
    const shared = ensured(made(), ['live-a*']);
    const more = ensured(shared, ['*-vip', 'live-a*']);
    assert.deepEqual([epochIn(shared), epochIn(more)], [first, first]);
    assert.equal(changedConfig(infoOf(more), { ...RULES, earlier: ['live-a*', '*-vip'] }), undefined, 'in any order');
    assert.equal(hasRoomsBack(infoOf(shared), { earlier: ['live-a*', '*-vip'] }), false);
    assert.equal(hasRoomsBack(infoOf(more), { earlier: ['*-vip'] }), true);
    assert.notEqual(epochIn(ensured(more, ['*-vip'])), first);
  });

  it('is the same history where a former version did not say which rooms it has', () => {
    const { metadata, ...config } = made() as StreamInfo['config'];
    const { 'pushcluster.earlier': _, ...others } = metadata!;
    const changed = ensured({ ...config, metadata: others }, ['live-a*']);
    assert.equal(epochIn(changed), first);
    assert.notEqual(epochIn(ensured(changed)), first, 'it says so from then on');
  });
});
