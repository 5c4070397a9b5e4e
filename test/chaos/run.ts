import { mkdir, rm } from 'node:fs/promises';
import { setTimeout } from 'node:timers/promises';
import { Chance } from '../harness/chance.ts';
import { Page, Publisher, readHistory } from './actors.ts';
import { judge, type Verdict } from './checker.ts';
import { accountsOf, type LossVerdict } from './lossAccounts.ts';
import type { Fault } from './nemesis.ts';
import { PlainPage } from './plainPage.ts';
import { Recorder, readEvents } from './record.ts';
import { WireClient } from './wireClient.ts';
import { World } from './world.ts';

const HISTORIES = ['h-0', 'h-1', 'h-2'];
const PLAIN_ROOMS = ['n-0', 'n-1'];
/** Clients of each room: with the SDK, with v1 alone, and those that know nothing of this project. */
const CLIENTS = { pages: 4, v1: 2, goPush: 1 };
const PUBLISHERS_PER_ROOM = 2;
/** Milliseconds from the last fault until everybody must have everything. */
export const SETTLE_MS = 60_000;
/** Milliseconds from the last item until all losses before it must have been told. */
const TELL_MS = 6_000;

/** What a run showed. */
export type Outcome = { verdict: Verdict; losses: LossVerdict; problems: string[] };

/**
 * Plays a schedule, with publishers and clients, and judges what they saw.
 *
 * @param seed which gateway and which logic process they choose
 * @param folder for what they did and saw, as files
 * @param settle milliseconds from the last fault until everybody must have everything
 */
export async function play(
  faults: readonly Fault[],
  seed: number,
  folder: string,
  settle = SETTLE_MS,
): Promise<Outcome> {
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  const began = performance.now();
  const recorders: Recorder[] = [];
  const recorder = (actor: string) => {
    const made = new Recorder(folder, actor, began);
    recorders.push(made);
    return made;
  };
  const nemesis = recorder('nemesis');
  const world = await World.start(() => nemesis.add({ type: 'break' }));
  const chance = new Chance(seed);
  const anyGateway = () => `127.0.0.1:${chance.pick(world.gateways).front.port}`;
  const logics = world.logics.map(({ process }) => `127.0.0.1:${process.port}`);
  const anyLogic = { address: () => chance.pick(logics) };
  for (const room of PLAIN_ROOMS) nemesis.add({ type: 'room without history', room });
  const clients = [...HISTORIES, ...PLAIN_ROOMS].flatMap((room) => {
    const hasHistory = HISTORIES.includes(room);
    const many = <T>(kind: string, length: number, make: (name: string) => T) =>
      Array.from({ length }, (_, i) => ({ room, client: make(`${kind}-${room}-${i}`) }));
    return [
      ...many('page', CLIENTS.pages, (name) =>
        hasHistory
          ? new Page(name, room, anyGateway, recorder(name))
          : new PlainPage(name, room, anyGateway, recorder(name)),
      ),
      ...many(
        'v1',
        CLIENTS.v1,
        (name) => new WireClient(name, room, { form: 'v1', hasHistory }, anyGateway, recorder(name)),
      ),
      ...many(
        'go',
        CLIENTS.goPush,
        (name) => new WireClient(name, room, { form: 'go-push', hasHistory }, anyGateway, recorder(name)),
      ),
    ];
  });
  await Promise.all(clients.map(({ client }) => client.joined));
  const publishers = [...HISTORIES, ...PLAIN_ROOMS].flatMap((room) =>
    Array.from({ length: PUBLISHERS_PER_ROOM }, (_, i) => {
      const name = `publisher-${room}-${i}`;
      return new Publisher(name, room, anyLogic, recorder(name));
    }),
  );

  const under: Promise<void>[] = [];
  const start = performance.now();
  for (const [i, fault] of faults.entries()) {
    await setTimeout(Math.max(0, start + fault.at - performance.now()));
    console.log(`  ${((performance.now() - began) / 1_000).toFixed(1)} s  ${i + 1}/${faults.length}  ${fault.name}`);
    nemesis.add({ type: 'fault', name: fault.name });
    under.push(world.cause(fault));
  }
  await Promise.all(under);
  await world.healed();
  await Promise.all(publishers.map((publisher) => publisher.stop()));

  const ends = recorder('end');
  const deadline = performance.now() + settle;
  const endOf = (room: string, i: number) => `end-${room}-${i}`;
  // One more push to each room: whoever has it has all that was stored before. In rooms without history each logic process
  // pushes, since what is missing of one is known by what comes of it.
  for (const room of [...HISTORIES, ...PLAIN_ROOMS])
    for (const [i, address] of logics.entries())
      await new Publisher(endOf(room, i), room, { address: () => address }, recorder(endOf(room, i))).stop();
  const hasEnded = ({ room, client }: (typeof clients)[number]) =>
    client.last === `${endOf(room, logics.length - 1)}:0`;
  while (performance.now() < deadline && !clients.every(hasEnded)) await setTimeout(100);
  await setTimeout(TELL_MS);
  for (const room of HISTORIES) await readHistory(room, anyLogic, ends);
  for (const { client } of clients) client.close();
  await world.stop();
  await Promise.all(recorders.map((made) => made.close()));
  const events = await readEvents(folder);
  const verdict = judge(events);
  const losses = accountsOf(events);
  return { verdict, losses, problems: [...verdict.problems, ...losses.problems] };
}
