import { deflateRawSync } from 'node:zlib';
import { NatsSettings } from '@pushcluster/protocol/settings.ts';
import { NatsBus } from '@pushcluster/runtime/bus/natsBus.ts';
import { createLog } from '@pushcluster/runtime/log.ts';
import { Audience, pause } from '../audience.ts';
import { ItemMaker } from '../items.ts';
import { cpuBetween, cpuOf, tree } from '../machine.ts';
import { median, medianOf } from '../measure.ts';
import { type Outcome, round } from '../report.ts';
import type { Scale } from '../scale.ts';
import { type Publisher, type Server, Stack } from '../stack.ts';

/** Messages per second over all rooms. */
const RATE = 10_000;
const ROOMS = 1_000;
/** Subscribers beside the gateway, in place of further gateways. */
const OTHERS = 4;
/** Comments in a frame of 1 KB. */
const COMMENTS = 9;

/**
 * Shards of a second gateway, and its members of each room. REACHED is the mean number of shards with members of a
 * room.
 */
const SHARDS = 4;
const MEMBERS = 4;
const REACHED = SHARDS * (1 - (1 - 1 / SHARDS) ** MEMBERS);

/** Windows of a second: the frames of the room that gets all messages are then too few to count. */
const FIXED = { adaptive: false };

/** Microseconds of CPU in one measurement, and frames that the hub made. */
type Spent = { hub: number; shards: number; nats: number; frames: number };
type Run = { one: Spent; many: Spent; more: Spent; wide: Spent };

/**
 * The cost of the bus and the hub, which does not depend on the number of connections: a message through NATS to a
 * gateway, a message in the hub, a frame sent to and processed by a shard, and the compression of a frame, which
 * happens once for all connections.
 */
export async function bus({ pairs, seconds, progress }: Scale): Promise<Outcome> {
  const stack = await Stack.start();
  const others: Listener[] = [];
  try {
    const gateway = await stack.gateway({ gateway: { batching: FIXED } });
    const publisher = await stack.publisher();
    await new Audience({ port: gateway.port, room: 'one' }).open(1);
    await new Audience({ port: gateway.port, room: 'many-', rooms: ROOMS }).open(ROOMS);

    const messages = RATE * seconds;
    const spend = (room: string, rooms: number) =>
      spent(stack, gateway, publisher, { room, rooms, messages, members: 1 });
    // Runs until V8 has compiled the code of the hub.
    await spend('many', ROOMS);
    const runs: Run[] = [];
    for (let pair = 1; pair <= pairs; pair++) {
      const one = await spend('one', 1);
      const many = await spend('many', ROOMS);
      while (others.length < OTHERS) others.push(await Listener.start(stack));
      const more = await spend('one', 1);
      if (others.some(({ heard }) => heard < messages)) throw new Error('bus: a listener did not hear all');
      for (const other of others.splice(0)) await other.close();
      const wide = await spentWide(stack, publisher, messages);
      runs.push({ one, many, more, wide });
      const each = (part: 'hub' | 'nats', run: Run) =>
        Object.entries(run)
          .map(([name, stretch]) => `${name} ${round(stretch[part] / messages)}`)
          .join(' ');
      progress(
        `pair ${pair}: hub ${each('hub', runs.at(-1)!)}, nats-server ${each('nats', runs.at(-1)!)} µs a message`,
      );
    }
    const found = figures(runs, messages);
    const of = (name: keyof typeof found) => round(found[name]);
    const row = (figure: string, ours: string) => ({ case: 'bus', figure, ours });
    return {
      rows: [
        row(`nats-server: CPU a message of 100 bytes in, µs, ${RATE.toLocaleString('en')} a second`, of('natsIn')),
        row('nats-server: CPU a message out to a gateway, µs', of('natsOut')),
        row('hub: CPU a message, µs', of('hubMessage')),
        row(`hub: CPU a frame for each shard that gets it, µs, ${ROOMS.toLocaleString('en')} rooms`, of('hubFrame')),
        row('shard: CPU a frame to its one listener, µs', of('shardFrame')),
        row('zlib: CPU to compress 1,000 bytes of a frame of 1 KB, µs', round(deflateUs())),
      ],
      notes: [
        `bus: a bus message each, in one room and in ${ROOMS.toLocaleString('en')}, with one connection each; ${OTHERS} more subscribers show what a message out costs.`,
      ],
      data: { runs },
    };
  } finally {
    for (const other of others) await other.close();
    await stack.stop();
  }
}

/**
 * Microseconds per message or frame. Each figure is the difference between the medians of two kinds of measurements,
 * because differences of single measurements scatter more than their size.
 */
function figures(runs: readonly Run[], messages: number) {
  const of = (stretch: keyof Run, part: keyof Spent) => medianOf(runs, (run) => run[stretch][part]);
  const natsOut = (of('more', 'nats') - of('one', 'nats')) / (OTHERS * messages);
  // A frame of a single room holds up to 1,000 messages: these frames are not counted.
  const hubMessage = median(runs.flatMap(({ one, more }) => [one.hub, more.hub])) / messages;
  return {
    natsIn: of('one', 'nats') / messages - natsOut,
    natsOut,
    hubMessage,
    hubFrame: (of('wide', 'hub') - hubMessage * messages) / of('wide', 'frames') / REACHED,
    shardFrame: of('many', 'shards') / of('many', 'frames'),
  };
}

async function spent(
  stack: Stack,
  gateway: Server,
  publisher: Publisher,
  { room, rooms, messages, members }: { room: string; rooms: number; messages: number; members: number },
): Promise<Spent> {
  await pause(1_500);
  const frames = () => gateway.metric('pushcluster_gateway_frames_sent_total');
  const delivered = () => gateway.metric('pushcluster_gateway_messages_delivered_total');
  const [hubPid, ...shardPids] = tree(gateway.actor.pid);
  const read = () => ({ all: cpuOf(hubPid!), shards: shardPids.map(cpuOf), nats: cpuOf(stack.natsPid) });
  const before = { ...read(), frames: await frames(), delivered: await delivered() };
  await publisher.push({ room, rooms, via: 'bus', rate: RATE, messages });
  const deadline = performance.now() + 10_000;
  while ((await delivered()) < before.delivered + messages * members) {
    if (performance.now() > deadline) throw new Error(`bus: not all of ${messages} messages came`);
    await pause(100);
  }
  const after = read();
  const us = (a: ReturnType<typeof cpuOf>, b: ReturnType<typeof cpuOf>) => {
    const { user, system } = cpuBetween(a, b);
    return (user + system) * 1e6;
  };
  const shards = shardPids.reduce((sum, _, i) => sum + us(before.shards[i]!, after.shards[i]!), 0);
  return {
    hub: us(before.all, after.all) - shards,
    shards,
    nats: us(before.nats, after.nats),
    frames: ((await frames()) - before.frames) / members,
  };
}

/** The same measurement with a gateway of several shards that all have members. */
async function spentWide(stack: Stack, publisher: Publisher, messages: number): Promise<Spent> {
  const gateway = await stack.gateway({ gateway: { shards: SHARDS, batching: FIXED } });
  const audience = new Audience({ port: gateway.port, room: 'wide-', rooms: ROOMS });
  try {
    await audience.open(ROOMS * MEMBERS);
    const pushing = { room: 'wide', rooms: ROOMS, messages, members: MEMBERS };
    await spent(stack, gateway, publisher, pushing);
    return await spent(stack, gateway, publisher, pushing);
  } finally {
    await audience.actor.stop();
    await gateway.actor.stop();
  }
}

/** Receives all pushes, as a gateway with members of every room does. */
class Listener {
  heard = 0;
  readonly #bus: NatsBus;

  static async start(stack: Stack): Promise<Listener> {
    const listener = new Listener(stack);
    await listener.#bus.subscribe(`${stack.bus.prefix}.out.room.*`, () => {
      listener.heard++;
    }).ready;
    return listener;
  }

  private constructor(stack: Stack) {
    const settings = NatsSettings.parse({ servers: [stack.bus.url] });
    this.#bus = new NatsBus(settings, { log: createLog('listener', 'error'), name: 'listener' });
  }

  close(): Promise<void> {
    return this.#bus.close();
  }
}

/** Microseconds of CPU to compress 1,000 bytes, in frames as the hub compresses them. */
function deflateUs(): number {
  const maker = new ItemMaker('comment');
  const frames = Array.from({ length: 4_000 }, () => {
    const items = Array.from({ length: COMMENTS }, () => maker.next(83_211_200_417 + maker.mark * 1_693));
    return Buffer.from(`{"type":"PUSH","data":{"room":"text","items":[${items.join(',')}]}}`);
  });
  for (const frame of frames.slice(0, 500)) deflateRawSync(frame);
  const began = process.cpuUsage();
  let bytes = 0;
  for (const frame of frames) {
    deflateRawSync(frame);
    bytes += frame.length;
  }
  const { user, system } = process.cpuUsage(began);
  return ((user + system) * 1_000) / bytes;
}
