import assert from 'node:assert/strict';
import { it } from 'node:test';
import { setTimeout as pass } from 'node:timers/promises';
import { Publisher } from '@pushcluster/logic/publish/publisher.ts';
import type { Target } from '@pushcluster/protocol/api.ts';
import { decodePush, decodeUserPush } from '@pushcluster/protocol/push.ts';
import { Subjects } from '@pushcluster/protocol/subjects.ts';
import { BusUnavailable, BusUnconfirmed } from '@pushcluster/runtime/bus/bus.ts';
import { NatsBus } from '@pushcluster/runtime/bus/natsBus.ts';
import { Chance } from '../harness/chance.ts';
import { logLines } from '../harness/logLines.ts';
import { startNatsServer } from '../harness/natsServer.ts';
import { startTcpProxy } from '../harness/tcpProxy.ts';
import { PATIENCE_MS, until } from '../harness/until.ts';

const ROUNDS = Number(process.env.FUZZ_ROUNDS ?? 25);
const SEED = Number(process.env.FUZZ_SEED ?? Math.floor(Math.random() * 2 ** 32));
const subjects = new Subjects('fuzz');

it(`what was refused as unavailable never arrives, and what was accepted does, however the network breaks (seed ${SEED})`, async (t) => {
  const chance = new Chance(SEED);
  const pick = <T>(list: readonly T[]): T => chance.pick(list);
  const server = await startNatsServer({ maxPayload: 65_536 });
  const proxy = await startTcpProxy(server.port);
  const { log } = logLines();
  const open = (port: number, pingInterval: number, receiptTimeout: number) =>
    new NatsBus({ servers: [`nats://127.0.0.1:${port}`], pingInterval }, { log, name: t.name, receiptTimeout });
  // The listener's network is whole: whatever is slow there is a busy machine.
  const [bus, listener] = [open(proxy.port, 200, 300), open(server.port, PATIENCE_MS, PATIENCE_MS)];
  t.after(async () => {
    await Promise.all([bus.close(), listener.close()]);
    await proxy.close();
    await server.stop();
  });

  const arrived = new Map<string, number>();
  const note = (text: string) => {
    for (const [, name] of text.matchAll(/"(p\d+[^"]*?)\.x*"/g)) arrived.set(name!, (arrived.get(name!) ?? 0) + 1);
  };
  const textOf = ({ bytes }: { bytes: Uint8Array }) => Buffer.from(bytes).toString();
  const subscriptions = [
    listener.subscribe('fuzz.out.all', (bytes) => note(textOf(decodePush(bytes).items))),
    listener.subscribe('fuzz.out.room.*', (bytes, subject) =>
      note(textOf(decodePush(bytes).items).replaceAll('@', `@${subject.at(-1)}`)),
    ),
    listener.subscribe('fuzz.out.user', (bytes) => {
      for (const { items } of decodeUserPush(bytes).entries) note(textOf(items));
    }),
  ];
  await Promise.all(subscriptions.map(({ ready }) => ready));
  await until('the bus is connected', () => bus.connected);

  const publisher = new Publisher(bus, subjects);
  const accepted: string[] = [];
  const refused: string[] = [];
  let unconfirmed = 0;
  let pushes = 0;
  async function push(): Promise<void> {
    const name = `p${++pushes}`;
    const target = pick<Target>([
      { type: 'all' },
      { type: 'room', room: 'a' },
      { type: 'rooms', rooms: ['a', 'b', 'c'] },
      { type: 'user', user: 'u' },
      { type: 'users', users: ['u', 'v'] },
    ]);
    const rooms = target.type === 'rooms' ? target.rooms : target.type === 'room' ? [target.room] : [];
    const mark = rooms.length > 0 ? '@' : '';
    const parts = pick([1, 1, 1, 4]);
    const items = Array.from({ length: parts }, (_, i) =>
      Buffer.from(JSON.stringify(`${name}/${i}${mark}.${'x'.repeat(parts > 1 ? 30_000 : pick([10, 5_000]))}`)),
    );
    const names = (room = '') => items.map((_, i) => `${name}/${i}${mark}${room}`);
    const id = pick(['', name]);
    try {
      const { failures } = await publisher.publish(target, items, { urgent: false, id });
      const codes = new Map(failures.map(({ room, code }) => [room, code]));
      for (const room of rooms.length > 0 ? rooms : [''])
        if (!codes.has(room)) accepted.push(...names(room));
        else if (codes.get(room) !== 'bus_unconfirmed') refused.push(...names(room));
    } catch (error) {
      if (error instanceof BusUnavailable)
        for (const room of rooms.length > 0 ? rooms : ['']) refused.push(...names(room));
      else if (error instanceof BusUnconfirmed) unconfirmed++;
      else throw error;
    }
  }

  let running = true;
  const writers = Array.from({ length: 4 }, async () => {
    while (running) {
      await push();
      if (!bus.connected) await pass(1);
      else await new Promise(setImmediate);
    }
  });
  for (let round = 0; round < ROUNDS; round++) {
    await pass(chance.next() * 100);
    if (pick([true, false])) {
      proxy.cut();
      await pass(chance.next() * 500);
      await proxy.heal();
    } else proxy.reset();
    if (pick([true, false])) await until('it is back', () => bus.connected);
  }
  // `connected` may still be what the connection was before it was cut: only an answer says that it is back.
  const answers = (side: NatsBus) =>
    until('the server answers', () =>
      side.flush().then(
        () => true,
        () => false,
      ),
    );
  await answers(bus);
  running = false;
  await Promise.all(writers);
  await push();
  await until('all that was accepted arrived', () => accepted.every((name) => arrived.has(name)));
  // What comes late would have come over the connection that is there now, or one that was healed long ago.
  await answers(bus);
  await answers(listener);
  t.diagnostic(`${accepted.length} accepted, ${refused.length} refused, ${unconfirmed} pushes unconfirmed`);
  assert.ok(accepted.length > 0 && refused.length > 0);
  assert.deepEqual(
    refused.filter((name) => arrived.has(name)),
    [],
  );
  assert.deepEqual(
    [...arrived].filter(([, times]) => times > 1),
    [],
    'nothing twice',
  );
});
