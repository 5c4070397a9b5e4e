/**
 * A backend in a process of its own. It pushes items into a room at a rate, through logic's HTTP API or, if one logic
 * process can't reach the rate, with the bus codec straight to NATS, as logic would.
 * Commands on standard input, one JSON line each (`Command` below); each is answered with a `done` line.
 * Usage: publisher.ts SETTINGS (JSON: `Where` below)
 */
import { randomBytes } from 'node:crypto';
import { Agent, request } from 'node:http';
import { createInterface } from 'node:readline';
import { encodePush, joinItems } from '@pushcluster/protocol/push.ts';
import { NatsSettings } from '@pushcluster/protocol/settings.ts';
import { Subjects } from '@pushcluster/protocol/subjects.ts';
import { NatsBus } from '@pushcluster/runtime/bus/natsBus.ts';
import { createLog } from '@pushcluster/runtime/log.ts';
import { z } from 'zod';
import { ItemMaker, stampNow } from './items.ts';

const Where = z.object({
  nats: z.string().optional(),
  prefix: z.string(),
  logicPort: z.number().int().optional(),
  url: z.string().optional(),
});

const Command = z.object({
  room: z.string(),
  /** If more than one: messages go to `room-0`, `room-1` and so on in turn. */
  rooms: z.number().int().positive().default(1),
  /** `user`: messages go to the users of these names; via `logic` only. */
  to: z.enum(['room', 'user']).default('room'),
  kind: z.enum(['plain', 'comment']),
  via: z.enum(['logic', 'bus', 'peer', 'centrifugo']),
  /** Messages per second. */
  rate: z.number().positive(),
  messages: z.number().int().positive(),
});
type Command = z.infer<typeof Command>;

const where = Where.parse(JSON.parse(process.argv[2] ?? '{}'));
const subjects = new Subjects(where.prefix);
const publisher = randomBytes(8).toString('hex');
const begun = Date.now();
const encoder = new TextEncoder();
const agent = new Agent({ keepAlive: true, maxSockets: 4 });
/** The series of marks of each room and kind of item, which continues over all commands. */
const makers = new Map<string, ItemMaker>();
/** Number of items that this process sent to the bus, by room. */
const counters = new Map<string, number>();

const bus = where.nats
  ? new NatsBus(NatsSettings.parse({ servers: [where.nats] }), { log: createLog('publisher', 'error'), name: 'bench' })
  : undefined;
bus?.onEvent((event) => {
  if (event.type === 'connected') say({ event: 'ready' });
});
if (!bus) say({ event: 'ready' });

createInterface(process.stdin)
  .on('line', (line) => void run(Command.parse(JSON.parse(line))))
  .on('close', () => process.exit(0));

async function run(command: Command) {
  const key = `${command.kind} ${command.room}`;
  const maker = makers.get(key) ?? new ItemMaker(command.kind);
  makers.set(key, maker);
  const room = (index: number) => (command.rooms === 1 ? command.room : `${command.room}-${index % command.rooms}`);
  const logic = (name: string, maker: ItemMaker) => throughLogic(command.to, name, maker);
  const push = { logic, bus: throughBus, peer: throughPeer, centrifugo: throughCentrifugo }[command.via];
  const total = command.messages;
  const started = performance.now();
  const answers = new Set<Promise<void>>();
  let failed = 0;
  let lateMs = 0;
  for (let sent = 0; sent < total; ) {
    const now = performance.now();
    const due = Math.min(total, Math.floor(((now - started) * command.rate) / 1_000) + 1);
    lateMs = Math.max(lateMs, now - started - (sent * 1_000) / command.rate);
    for (; sent < due; sent++) {
      const answer = push(room(sent), maker)
        .catch(() => {
          failed++;
        })
        .then(() => {
          answers.delete(answer);
        });
      answers.add(answer);
    }
    const wait = started + (sent * 1_000) / command.rate - performance.now();
    if (sent < total) await new Promise((resolve) => setTimeout(resolve, Math.max(1, wait)));
  }
  await Promise.all(answers);
  if (command.via === 'bus') await bus?.flush();
  const { user, system } = process.cpuUsage();
  say({
    event: 'done',
    published: total,
    failed,
    lastMark: maker.mark,
    seconds: (performance.now() - started) / 1_000,
    lateMs,
    cpu: (user + system) / 1e6,
  });
}

async function throughBus(room: string, maker: ItemMaker) {
  if (!bus) throw new Error('no NATS given');
  const items = joinItems([encoder.encode(maker.next(stampNow()))]);
  const counter = (counters.get(room) ?? 0) + 1;
  counters.set(room, counter);
  const header = { publisher, counter, at: Date.now(), begun, beat: 0, mark: counter, first: 0, urgent: false, id: '' };
  bus.publish(subjects.room(room), encodePush({ ...header, items }));
}

function throughLogic(to: Command['to'], name: string, maker: ItemMaker): Promise<void> {
  const item = maker.next(stampNow());
  return post(
    `http://127.0.0.1:${where.logicPort}/v1/push`,
    `{"to":{"${to}":${JSON.stringify(name)}},"items":[${item}]}`,
    202,
  );
}

/** Pushes through the API of another server, with the item as the body. */
function throughPeer(room: string, maker: ItemMaker): Promise<void> {
  return post(`${where.url}?room=${encodeURIComponent(room)}`, maker.next(stampNow()), 200);
}

/** Pushes through the HTTP API of Centrifugo, at `url`. */
function throughCentrifugo(room: string, maker: ItemMaker): Promise<void> {
  return post(where.url ?? '', `{"channel":${JSON.stringify(room)},"data":${maker.next(stampNow())}}`, 200);
}

function post(url: string, body: string, expected: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
    const sent = request(url, { method: 'POST', agent, headers }, (response) => {
      response.resume();
      if (response.statusCode === expected) resolve();
      else reject(new Error(`${url} answered ${response.statusCode}`));
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

function say(message: object) {
  process.stdout.write(`${JSON.stringify(message)}\n`);
}
