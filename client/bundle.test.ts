import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { bundle } from './bundle.ts';
import { PushClient } from './pushClient.ts';
import { jwt, pushFrame, SimulatedClock, SimulatedNetwork, turn } from './simulation.ts';

test('the whole bundle is at most 7 KiB, minified and gzipped, and imports nothing', async () => {
  const code = await bundle();
  const size = gzipSync(code, { level: 9 }).length;
  assert.ok(size <= 7_168, `${size} bytes`);
  assert.doesNotMatch(code, /\bimport\b|\brequire\(/);
});

test('nothing is called that browsers of three years ago lack', async () => {
  const newer =
    /isWellFormed|withResolvers|toSorted|toSpliced|toReversed|\bgroupBy|fromAsync|AbortSignal\.any|Promise\.try/;
  assert.doesNotMatch(await bundle(), newer);
});

/** What a client says and tells through joins, a move, refusals, losses, resumes, a token's refresh and its end. */
async function transcript(Client: typeof PushClient): Promise<unknown[]> {
  const said: unknown[] = [];
  const clock = new SimulatedClock();
  const network = new SimulatedNetwork();
  network.onSend = (_, frame) => said.push(frame);
  const push = new Client('ws://gateway/connect', {
    WebSocket: network.WebSocket,
    clock,
    random: () => 0.5,
    queueLimit: 2,
    token: async () => jwt({ exp: clock.now() / 1_000 + 100 }),
  });
  for (const name of ['state', 'open', 'close', 'moved', 'lagged', 'gap', 'left', 'error', 'frame'] as const)
    push.on(name, (event: unknown) => said.push([name, event instanceof Error ? { ...event } : event]));
  const [room, other] = [push.join('r'), push.join('s')];
  for (const stream of [room, other, push.all, push.user]) stream.on('item', (item) => said.push(item));
  const items = room[Symbol.asyncIterator]();
  push.join('x'.repeat(129)).joined.catch(({ code }) => said.push(code));
  await turn();
  network.last.accept();
  network.last.ok();
  await room.joined;
  network.last.say(pushFrame('r', 'a', 1, 5));
  network.last.say(pushFrame('r', 'a', 4, 9));
  network.last.say(pushFrame('r', 'a', 12, 12));
  network.last.say(pushFrame(undefined, 'a', 1, 1, { user: true }));
  network.last.say({ type: 'LAGGED', data: { room: 'r', dropped: 3, reason: 'slow' } });
  said.push(await items.next());
  const old = network.last;
  old.say({ type: 'RECONNECT', data: { withinMs: 8_000, overlapMs: 2_000 } });
  await clock.advance(1_000);
  network.last.accept();
  network.last.ok();
  network.last.say(pushFrame('r', 'a', 13, 16));
  old.say(pushFrame('r', 'a', 13, 14));
  await clock.advance(9_000);
  network.last.say({ type: 'LEAVE', data: { room: 's', reason: 'over' } });
  const past = push.join('h', { since: { epoch: 'e', seq: 5, at: clock.now() - 7 }, last: 3 });
  past.on('item', (item) => said.push([item, past.position]));
  past.on('resumed', (event) => said.push(['resumed', event]));
  past.on('reset', (event) => said.push(['reset', event]));
  const answer = (data: object) => {
    const { id } = network.last.sent.findLast(({ type }) => type === 'JOIN')!;
    network.last.say({ type: 'OK', id, data: { room: 'h', epoch: 'e', recovered: true, ...data } });
  };
  const pushed = (prev: number, seq: number) => pushFrame('h', 'a', seq, seq, { epoch: 'e', prev, seq });
  answer({ seq: 7 });
  network.last.say(pushed(0, 7));
  network.last.say(pushed(0, 7));
  network.last.say(pushed(8, 9));
  answer({ seq: 9, recovered: false });
  network.last.say({ type: 'LEAVE', data: { room: 'h', reason: 'why', code: 'unavailable' } });
  answer({ seq: 9 });
  network.last.say({ type: 'RESET', data: { room: 'h', epoch: 'f', seq: 1 } });
  network.last.say({ type: 'RECONNECT', data: { withinMs: 8_000, overlapMs: 2_000 } });
  await clock.advance(1_000);
  network.last.accept();
  answer({ seq: 1, epoch: 'f' });
  network.last.end(1006);
  await clock.advance(9_000);
  network.last.accept();
  network.last.ok();
  past.leave();
  await clock.advance(90_000);
  network.last.end(1012, 'bye');
  await clock.advance(10_000);
  network.last.accept();
  network.last.say('{"type":');
  await clock.advance(10_000);
  room.leave();
  network.last.accept();
  network.last.end(4403, 'no');
  said.push(push.state, network.sockets.length, clock.pending);
  push.close();
  return said;
}

test('the bundle does what its sources do', async () => {
  const built = await import(`data:text/javascript,${encodeURIComponent(await bundle())}`);
  const said = await transcript(built.PushClient);
  assert.ok(said.length > 50, `only ${said.length} things were said`);
  assert.deepEqual(said, await transcript(PushClient));
  assert.equal(built.CloseCode.goingAway, 1012);
  assert.ok(new built.PushError('closed', 'why') instanceof Error);
});
