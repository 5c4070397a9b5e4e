import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { after, before, describe, it } from 'node:test';
import { type ClientCommand, ForeignClient, goClient, pythonClient } from '../harness/foreignClient.ts';
import { type NatsServer, startNatsServer } from '../harness/natsServer.ts';
import { type GatewayProcess, type LogicProcess, startGateway, startLogic } from '../harness/processes.ts';
import { hs256 } from '../harness/tokens.ts';
import { until } from '../harness/until.ts';

/** Clients that nobody here wrote; Chromium has a test of its own, with the console. */
const CLIENTS: Record<string, () => Promise<ClientCommand>> = {
  'Python’s websockets': pythonClient,
  'Go’s coder/websocket': goClient,
};
const SECRET = 'a secret that is long enough for HS256';
/** As people write, and as programs do. */
const ITEMS = [
  '{"user":"アリス","text":"こんにちは 😀"}',
  '"\\u00e9 \\"quoted\\""',
  '12345678901234567890.50',
  '[null,true,{}]',
];

let nats: NatsServer;
let gateway: GatewayProcess;
let logic: LogicProcess;
before(async () => {
  nats = await startNatsServer();
  [gateway, logic] = await Promise.all([
    startGateway({ nats: [nats.url], settings: { gateway: { batching: { maxDelay: '300ms', adaptive: false } } } }),
    startLogic({ nats: [nats.url] }),
  ]);
});
after(async () => {
  await Promise.all([gateway?.stop(), logic?.stop()]);
  await nats?.stop();
});

for (const [name, command] of Object.entries(CLIENTS)) {
  describe(name, () => {
    let client: ClientCommand;
    const clients: ForeignClient[] = [];
    const room = (place: string) => `${place} of ${name}`;
    const url = (query = '') => `ws://127.0.0.1:${gateway.port}/connect${query}`;

    before(async () => {
      client = await command();
    });
    after(() => {
      for (const client of clients) client.end();
    });

    async function open(subprotocol?: string): Promise<ForeignClient> {
      const opened = new ForeignClient(client, url(), subprotocol);
      clients.push(opened);
      assert.equal((await opened.event('open')).subprotocol, subprotocol ?? '');
      return opened;
    }

    async function join(who: ForeignClient, room: string) {
      who.say({ type: 'JOIN', id: 1, data: { room } });
      await until('JOIN is answered', () => who.texts.some((text) => text.includes('"id":1')));
      assert.ok(
        who.texts.includes(`{"type":"OK","id":1,"data":{"room":${JSON.stringify(room)}}}`),
        who.texts.join('\n'),
      );
    }

    /** Pushes the items many times at once, so that they are merged, and waits until the client has them. */
    async function pushAndGet(who: ForeignClient, room: string): Promise<string[]> {
      const answers = await Promise.all(Array.from({ length: 40 }, () => logic.push({ room }, ITEMS)));
      for (const { status } of answers) assert.equal(status, 202);
      const pushes = () => who.texts.filter((text) => text.startsWith('{"type":"PUSH"'));
      const items = () => pushes().flatMap((text) => text.slice(text.indexOf('"items":[') + 9, -3));
      const expected = new Array<string>(40).fill(ITEMS.join(',')).join(',');
      await until('all items came', () => items().join(',').length >= expected.length);
      assert.equal(items().join(','), expected, 'the items, byte for byte and in order');
      assert.ok(pushes().length < 40, `${pushes().length} frames: nothing was merged`);
      return pushes();
    }

    it('gets merged frames without a subprotocol', async () => {
      const who = await open();
      await join(who, room('plain 房间'));
      for (const text of await pushAndGet(who, room('plain 房间')))
        assert.deepEqual(Object.keys(JSON.parse(text).data), ['room', 'items']);
    });

    it('gets the ids of items in pushcluster.v1, without a gap or a repeat', async () => {
      const who = await open('pushcluster.v1');
      await join(who, room('v1'));
      const frames = (await pushAndGet(who, room('v1'))).map((text) => JSON.parse(text).data);
      let next = 1;
      for (const { ids, items } of frames) {
        let count = 0;
        for (const [, first, length] of ids) {
          assert.equal(first, next);
          next += length;
          count += length;
        }
        assert.equal(count, items.length);
      }
      assert.equal(next - 1, 40 * ITEMS.length);
    });

    it('inflates what pushcluster.v1.deflate sends', async () => {
      const who = await open('pushcluster.v1.deflate');
      await join(who, room('deflate'));
      await pushAndGet(who, room('deflate'));
      assert.ok(
        who.events.some((event) => event.event === 'frame' && event.binary),
        'no frame was compressed',
      );
    });

    it('is answered PONG to PING, and a pong to a ping of the protocol', async () => {
      const who = await open();
      who.say({ type: 'PING', data: {} });
      assert.equal((await who.event('frame')).text, '{"type":"PONG","data":{}}');
      who.say('.ping');
      await who.event('pong');
    });

    it('leaves a room, and closes in peace', async () => {
      const who = await open();
      await join(who, room('left'));
      who.say({ type: 'LEAVE', id: 2, data: { room: room('left') } });
      await until('LEAVE is answered', () => who.texts.some((text) => text.includes('"id":2')));
      await logic.push({ room: room('left') }, ['"not for you"']);
      await logic.push({ all: true }, ['"for everyone"']);
      await until('the push to all came', () => who.texts.some((text) => text.includes('for everyone')));
      assert.ok(!who.texts.some((text) => text.includes('not for you')));
      who.say('.close');
      await until('it is closed', () => who.events.some(({ event }) => event === 'close'));
    });

    it('sees the codes that it is closed with, and why', async () => {
      const malformed = await open();
      malformed.say('{"type":');
      assert.deepEqual(await malformed.event('close'), { event: 'close', code: 1008, reason: 'frame is not JSON' });
      const large = await open('pushcluster.v1');
      large.say({ type: 'PING', data: { x: 'x'.repeat(5_000) } });
      assert.equal((await large.event('close')).code, 1009);
    });

    it('is let in by a token, and refused with a bad one: HTTP 401, or 4401 in v1', async () => {
      const folder = gateway.folder.path;
      await writeFile(`${folder}/secret`, SECRET);
      await gateway.configure({ auth: { jwt: { secretFile: `${folder}/secret` }, anonymous: true } });
      await logic.hearsAll();
      const token = hs256(SECRET, { sub: `user of ${name}` });
      const user = new ForeignClient(client, url(`?token=${token}`), 'pushcluster.v1');
      const bad = new ForeignClient(client, url('?token=bad'));
      const badV1 = new ForeignClient(client, url('?token=bad'), 'pushcluster.v1');
      clients.push(user, bad, badV1);
      await user.event('open');
      // Its shard has said so before it answers: the gateway knows that the user is there.
      await logic.hearsAll();
      assert.equal((await bad.event('refused')).status, 401);
      assert.equal((await badV1.event('close')).code, 4401);
      await logic.push({ user: `user of ${name}` }, ['"hello"']);
      await until('the push to the user came', () => user.texts.some((text) => text.includes('"user":true')));
      await logic.disconnect({ user: `user of ${name}` }, 'genug für heute');
      assert.deepEqual(await user.event('close'), { event: 'close', code: 4002, reason: 'genug für heute' });
    });

    it('is closed with 1012 by a gateway that leaves', async () => {
      const leaving = await startGateway({ settings: { gateway: { drain: { timeout: 1_000 } } } });
      const who = new ForeignClient(client, `ws://127.0.0.1:${leaving.port}/connect`);
      clients.push(who);
      await who.event('open');
      await leaving.stop();
      assert.equal((await who.event('close')).code, 1012);
    });
  });
}
