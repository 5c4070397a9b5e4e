import assert from 'node:assert/strict';
import { after, before, describe, it, type TestContext } from 'node:test';
import { PushClient } from '@pushcluster/client/pushClient.ts';
import type { JoinOptions, RoomPosition } from '@pushcluster/client/stream.ts';
import { type NatsServer, startNatsServer } from '../harness/natsServer.ts';
import { type GatewayProcess, type LogicProcess, startGateway, startLogic } from '../harness/processes.ts';
import type { SettingsInput } from '../harness/settingsFolder.ts';
import { until } from '../harness/until.ts';

const MATCH = 'live-*';
const HISTORY = { match: MATCH, history: {} };
const SETTINGS = { rooms: [HISTORY], gateway: { shards: 1, drain: { settle: 0 } } };
/** What policies may be for a while, so that pushes to the room go elsewhere. */
const OTHERS: Record<string, SettingsInput['rooms']> = {
  'the policy has no history': [{ match: MATCH, overload: { maxRate: 1_000 } }],
  'there are no policies': [],
  'another history is before it': [{ match: 'live-1*', history: {} }, HISTORY],
  'a policy without history is before it': [{ match: '*1*', batching: { maxDelay: 20 } }, HISTORY],
};

/** A page in a room: what it got, and what it was told. */
class Page {
  readonly items: unknown[] = [];
  readonly told: string[] = [];
  readonly push: PushClient;
  readonly room: ReturnType<PushClient['join']>;

  constructor({ port }: GatewayProcess, name: string, options: JoinOptions = {}) {
    this.push = new PushClient(`ws://127.0.0.1:${port}/connect`, { backoff: { base: 50 } });
    this.room = this.push.join(name, options);
    this.room.on('item', (item) => this.items.push(item));
    this.room.on('resumed', ({ items }) => this.told.push(`resumed ${items}`));
    this.room.on('reset', ({ reason }) => this.told.push(`reset ${reason}`));
  }
}

describe('a page that was away is told that it may have missed pushes of a room with history where meanwhile', () => {
  let nats: NatsServer;
  let logic: LogicProcess;
  let gateway: GatewayProcess;
  let rooms = 0;

  before(async () => {
    nats = await startNatsServer({ jetstream: true });
    [logic, gateway] = await Promise.all([
      startLogic({ nats: [nats.url], settings: SETTINGS }),
      startGateway({ nats: [nats.url], settings: SETTINGS }),
    ]);
  });
  after(async () => {
    await gateway?.stop();
    await logic?.stop();
    await nats?.stop();
  });

  async function configure(policies: SettingsInput['rooms']): Promise<void> {
    await Promise.all([logic, gateway].map((each) => each.configure({ rooms: policies })));
  }

  async function joined(t: TestContext, name: string, options: JoinOptions = {}): Promise<Page> {
    const page = new Page(gateway, name, options);
    t.after(() => page.push.close());
    await page.room.joined;
    return page;
  }

  async function push(room: string, item: string): Promise<void> {
    const { status } = await logic.push({ room }, [JSON.stringify(item)]);
    assert.equal(status, 202, item);
  }

  /** Where a page was that has gone. */
  async function positionIn(t: TestContext, name: string): Promise<RoomPosition> {
    const page = await joined(t, name);
    await push(name, 'before');
    await until('it has the push', () => page.items.includes('before'));
    const { position } = page.room;
    page.push.close();
    return position!;
  }

  for (const [what, policies] of Object.entries(OTHERS))
    it(what, async (t) => {
      const name = `live-1${++rooms}`;
      const position = await positionIn(t, name);

      await configure(policies);
      await push(name, 'meanwhile');
      await configure([HISTORY]);
      await push(name, 'after');

      const again = await joined(t, name, { since: position });
      await until('it is told', () => again.told.length > 0);
      assert.deepEqual(again.told, ['reset unrecovered']);
      assert.notEqual(again.room.position?.epoch, position.epoch);
      await push(name, 'at last');
      await until('it goes on', () => again.items.includes('at last'));
      assert.deepEqual(again.told, ['reset unrecovered']);
    });

  it('nothing but policies of other rooms has changed: it has missed nothing', async (t) => {
    const name = `live-1${++rooms}`;
    const position = await positionIn(t, name);

    await configure([
      { match: 'chat-*', history: {} },
      { ...HISTORY, history: { messages: 200 } },
    ]);
    await push(name, 'meanwhile');
    await configure([HISTORY]);

    const again = await joined(t, name, { since: position });
    await until('it is told', () => again.told.length > 0);
    assert.deepEqual([again.told, again.items], [['resumed 1'], ['meanwhile']]);
  });
});
