import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Chance } from '../harness/chance.ts';
import { Page, Publisher, readHistory } from './actors.ts';
import { judge, lineOf, type Verdict } from './checker.ts';
import { schedule } from './nemesis.ts';
import { Recorder, readEvents } from './record.ts';
import { World } from './world.ts';

/**
 * `make chaos [FAULTS=30] [SEED=7]`: rooms with history under faults. Everything that publishers did and clients saw is kept
 * in chaos-results/, and judged at the end. Exits with 1 where something was lost, came twice or out of order, or a room was
 * reset without a reason.
 */

const ROOMS = 3;
const PAGES_PER_ROOM = 4;
const PUBLISHERS_PER_ROOM = 2;
/** Milliseconds from the last fault until everybody must have everything. */
const SETTLE_MS = 60_000;

const { values } = parseArgs({
  options: { faults: { type: 'string', default: '30' }, seed: { type: 'string', default: '' } },
});
const seed = values.seed === '' ? Math.floor(Math.random() * 1e6) : Number(values.seed);
const count = Number(values.faults);
if (!Number.isInteger(seed) || !Number.isInteger(count) || count < 0) {
  console.error('FAULTS and SEED must be whole numbers');
  process.exit(2);
}

const verdict = await run();
for (const problem of verdict.problems) console.log(`  ${problem}`);
console.log(lineOf(verdict, seed));
process.exit(verdict.problems.length > 0 ? 1 : 0);

async function run(): Promise<Verdict> {
  const folder = join('chaos-results', `${seed}-${count}`);
  await mkdir(folder, { recursive: true });
  const began = performance.now();
  const recorders: Recorder[] = [];
  const recorder = (actor: string) => {
    const made = new Recorder(folder, actor, began);
    recorders.push(made);
    return made;
  };
  console.log(`${count} faults, seed ${seed}: three NATS servers, three gateways, two logic processes`);
  const world = await World.start();
  const chance = new Chance(seed);
  const rooms = Array.from({ length: ROOMS }, (_, i) => `h-${i}`);
  const anyGateway = () => `127.0.0.1:${chance.pick(world.gateways).front.port}`;
  const anyLogic = { address: () => `127.0.0.1:${chance.pick(world.logics).process.port}` };
  const each = <T>(n: number, make: (room: string, i: number) => T) =>
    rooms.flatMap((room) => Array.from({ length: n }, (_, i) => make(room, i)));
  const pages = each(PAGES_PER_ROOM, (room, i) => {
    const name = `page-${room}-${i}`;
    return { room, page: new Page(name, room, anyGateway, recorder(name)) };
  });
  await Promise.all(pages.map(({ page }) => page.joined));
  const publishers = each(PUBLISHERS_PER_ROOM, (room, i) => {
    const name = `publisher-${room}-${i}`;
    return new Publisher(name, room, anyLogic, recorder(name));
  });

  const nemesis = recorder('nemesis');
  const under: Promise<void>[] = [];
  for (const [i, fault] of schedule(seed, count).entries()) {
    await setTimeout(fault.after);
    console.log(`  ${((performance.now() - began) / 1_000).toFixed(1)} s  ${i + 1}/${count}  ${fault.name}`);
    nemesis.add({ type: 'fault', name: fault.name });
    under.push(world.cause(fault));
  }
  await Promise.all(under);
  await world.healed();
  await Promise.all(publishers.map((publisher) => publisher.stop()));

  const ends = recorder('end');
  let lasts: string[] = [];
  const deadline = performance.now() + SETTLE_MS;
  // One more push to each room: whoever has it has all that was stored before.
  for (const room of rooms) {
    const end = new Publisher(`end-${room}`, room, anyLogic, recorder(`end-${room}`));
    await end.stop();
  }
  lasts = rooms.map((room) => `end-${room}:0`);
  while (performance.now() < deadline) {
    if (pages.every(({ room, page }) => page.last === lasts[rooms.indexOf(room)])) break;
    await setTimeout(100);
  }
  for (const room of rooms) await readHistory(room, anyLogic, ends);
  for (const { page } of pages) page.push.close();
  await world.stop();
  await Promise.all(recorders.map((made) => made.close()));
  return judge(await readEvents(folder));
}
