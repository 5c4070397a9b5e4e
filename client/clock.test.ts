import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemClock } from './clock.ts';
import { PushClient } from './pushClient.ts';
import { jwt, SimulatedClock, SimulatedNetwork, turn } from './simulation.ts';

for (const [what, step] of [
  ['back by an hour', -3_600_000],
  ['ahead by an hour', 3_600_000],
  ['to 1970', -1_700_000_000_000],
] as const)
  test(`a machine's clock that is set ${what} changes no duration: silence is noticed in time, and nothing earlier`, (t) => {
    let now = 5_000;
    let epoch = 1_700_000_000_000;
    t.mock.timers.enable({ apis: ['setTimeout'] });
    t.mock.method(performance, 'now', () => now);
    t.mock.method(Date, 'now', () => epoch + now);
    const pass = (ms: number) => {
      for (let i = 0; i < ms; i += 100) {
        now += 100;
        t.mock.timers.tick(100);
      }
    };
    const network = new SimulatedNetwork();
    const push = new PushClient('ws://gateway/connect', { WebSocket: network.WebSocket });
    const closes: number[] = [];
    push.on('close', ({ code }) => closes.push(code));
    for (let i = 0; i < 100; i++) push.join(`room ${i}`);
    network.last.accept();
    epoch += step;
    pass(1_100);
    assert.equal(network.last.sent.length, 100, 'frames go on at their pace');
    network.last.ok();
    pass(38_000);
    assert.deepEqual(network.last.sent, []);
    epoch -= step;
    pass(4_000);
    assert.deepEqual(network.last.sent, [{ type: 'PING', data: {} }]);
    epoch += step;
    pass(7_000);
    assert.deepEqual(closes, []);
    pass(4_000);
    assert.deepEqual(closes, [1006]);
    push.close();
  });

test('the end of a token and the time of a frame are told by the wall clock', async () => {
  const clock = new SimulatedClock();
  const ahead = 86_400_000;
  const network = new SimulatedNetwork();
  const wall = () => clock.now() + ahead;
  const push = new PushClient('ws://gateway/connect', {
    WebSocket: network.WebSocket,
    clock: { now: () => clock.now(), wall, after: (ms, run) => clock.after(ms, run) },
    token: () => jwt({ exp: (clock.now() + ahead) / 1_000 + 600 }),
    idleTimeout: 3_600_000,
  });
  const at: number[] = [];
  push.on('frame', (frame) => at.push(frame.at));
  await turn();
  network.last.accept();
  network.last.say({ type: 'PONG', data: {} });
  assert.deepEqual(at, [wall()]);
  await clock.advance(479_000);
  assert.equal(network.last.sent.length, 0);
  await clock.advance(2_000);
  assert.equal(network.last.sent[0]?.type, 'AUTH');
  push.close();
});

test('a timer of any length does not fire at once', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let fired = 0;
  for (const ms of [2 ** 31, 1e300, Number.POSITIVE_INFINITY]) systemClock.after(ms, () => fired++);
  t.mock.timers.tick(2 ** 31 - 2);
  assert.equal(fired, 0);
  t.mock.timers.tick(1);
  assert.equal(fired, 3);
});
