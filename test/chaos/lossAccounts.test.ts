import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { accountsOf, type LossVerdict } from './lossAccounts.ts';
import type { Event, Form } from './record.ts';

const ROOM = 'n';
const PUSHES = 40;
/** Milliseconds between two pushes, until one is accepted, and until it comes. */
const [PACE, ACCEPTED, CAME] = [500, 10, 20];
const item = (n: number) => `p:${n}`;
const pushedAt = (n: number) => 1_000 + PACE * n;
/** Two logic processes take turns. */
const viaOf = (n: number) => `logic-${n % 2}`;

/** What a client does over two connections, of which the first gets the items up to 19 and the second those from 25 on. */
function clientEvents(family: string, form: Form): Event[] {
  const events: Event[] = [];
  const about = (session: number) => ({ client: `${family}#${session}`, room: ROOM });
  for (const [session, from, to] of [
    [0, 0, 20],
    [1, 25, PUSHES],
  ] as const) {
    events.push({ type: 'joined', t: pushedAt(from) - 100, ...about(session), form, at: 'g' });
    for (let n = from; n < to; n++)
      events.push({
        ...{ type: 'item', t: pushedAt(n) + CAME, ...about(session), item: item(n) },
        ...(form !== 'go-push' && { by: viaOf(n) }),
      });
  }
  events.push({ type: 'closed', t: pushedAt(20) - 100, ...about(0) });
  if (form === 'sdk') events.push({ type: 'told', t: pushedAt(25) + CAME, ...about(1), what: 'gap', items: 5 });
  return events;
}

/** A run in which everything is right. It ends some seconds after its last item. */
function run(): Event[] {
  const events: Event[] = [{ type: 'room without history', t: 0, room: ROOM }];
  for (let n = 0; n < PUSHES; n++) {
    events.push({ type: 'attempt', t: pushedAt(n), room: ROOM, item: item(n) });
    events.push({ type: 'accepted', t: pushedAt(n) + ACCEPTED, room: ROOM, item: item(n), via: viaOf(n) });
  }
  events.push(...clientEvents('page', 'sdk'), ...clientEvents('v1', 'v1'), ...clientEvents('go', 'go-push'));
  events.push({ type: 'fault', t: pushedAt(PUSHES) + 10_000, name: 'none' });
  return events;
}

function accounts(change: (events: Event[]) => unknown): LossVerdict {
  const events = run();
  change(events);
  return accountsOf(events.sort((a, b) => a.t - b.t));
}

function lose(events: Event[], client: string, ...numbers: number[]) {
  for (const n of numbers) {
    const at = events.findIndex((e) => e.type === 'item' && e.client === client && e.item === item(n));
    assert.ok(at >= 0, 'there is nothing to lose');
    events.splice(at, 1);
  }
}

function tell(events: Event[], client: string, what: 'lagged' | 'gap', items: number, after = 30) {
  events.push({ type: 'told', t: pushedAt(after) + 2 * CAME, client, room: ROOM, what, items });
}

describe('the accounts of rooms without history', () => {
  it('balance where every item came, and what was pushed between two connections is counted by the SDK', () => {
    const verdict = accounts(() => {});
    assert.deepEqual(verdict.problems, []);
    const { connections, published, received, told, cutOff, gaps } = verdict;
    assert.deepEqual(
      { connections, published, received, told, cutOff, gaps },
      { connections: 6, published: 105, received: 105, told: 0, cutOff: 0, gaps: 5 },
    );
  });

  it('balance where a loss was told to the item', () => {
    const verdict = accounts((events) => {
      lose(events, 'v1#1', 28, 29, 30);
      tell(events, 'v1#1', 'lagged', 3);
    });
    assert.deepEqual([verdict.problems, verdict.received, verdict.told], [[], 102, 3]);
  });

  it('find a loss that was not told, or not all of it', () => {
    const silent = accounts((events) => lose(events, 'v1#1', 28, 29, 30));
    assert.deepEqual([silent.untold, silent.problems.length], [3, 1]);
    const short = accounts((events) => {
      lose(events, 'v1#1', 28, 29, 30);
      tell(events, 'v1#1', 'lagged', 2);
    });
    assert.equal(short.untold, 1);
  });

  it('find more told than was lost', () => {
    const verdict = accounts((events) => {
      lose(events, 'v1#0', 8);
      tell(events, 'v1#0', 'lagged', 2, 10);
    });
    assert.deepEqual([verdict.overtold, verdict.untold], [1, 0]);
  });

  it('find what the SDK did not say of the time between two connections, or said too much of', () => {
    const said = (items: number) =>
      accounts((events) => {
        for (const event of events) if (event.type === 'told' && event.what === 'gap') event.items = items;
      });
    assert.equal(said(3).untold, 2);
    assert.equal(said(8).overtold, 3);
  });

  it('demand nothing of a connection that ended before it could be told, and of clients without v1', () => {
    const cut = accounts((events) => lose(events, 'v1#0', 18, 19));
    assert.deepEqual([cut.problems, cut.cutOff], [[], 2]);
    const plain = accounts((events) => lose(events, 'go#1', 28, 29));
    assert.deepEqual([plain.problems, plain.cutOff], [[], 2]);
  });

  it('know by the logic process what nobody got', () => {
    const verdict = accounts((events) => {
      for (const client of ['page#1', 'v1#1', 'go#1']) lose(events, client, 28);
      tell(events, 'v1#1', 'lagged', 1);
    });
    assert.equal(verdict.untold, 2, 'by LAGGED, and by a gap of the SDK');
  });

  it('accept that a retry which came by another way is told as lost', () => {
    const verdict = accounts((events) => {
      events.push({ type: 'unknown', t: pushedAt(30) + 1, room: ROOM, item: item(30) });
      tell(events, 'v1#1', 'lagged', 1);
    });
    assert.deepEqual(verdict.problems, []);
  });

  it('find items that came twice, too late or from nowhere', () => {
    const add = (client: string, t: number, text: string, by: string) => (events: Event[]) =>
      events.push({ type: 'item', t, client, room: ROOM, item: text, by });
    assert.equal(accounts(add('v1#1', pushedAt(30), item(28), viaOf(28))).twice, 1);
    const late = accounts((events) => {
      lose(events, 'v1#1', 28);
      add('v1#1', pushedAt(31), item(28), viaOf(28))(events);
    });
    assert.deepEqual([late.disorder, late.twice], [1, 0]);
    assert.match(accounts(add('v1#1', pushedAt(31), 'x:1', 'x')).problems.join(), /A1/);
  });
});
