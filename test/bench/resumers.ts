/**
 * Clients with the SDK in a process of its own, one room each, that check what they receive. All connect to the first of
 * two gateways, and to the second from the line `moved` on standard input. `stat MARK` is answered with what they saw.
 * `spin MS` uses the processor for so long, and still receives.
 * Usage: resumers.ts SETTINGS (JSON: `Settings` below)
 */
import { createInterface } from 'node:readline';
import { PushClient } from '@pushcluster/client/pushClient.ts';
import { WebSocket as LeanWebSocket } from 'ws';
import { z } from 'zod';
import { redirectedSocket } from '../harness/redirectedSocket.ts';

const Settings = z.object({
  /** Ports of the two gateways. */
  ports: z.tuple([z.number(), z.number()]),
  clients: z.number().int().positive(),
  /** Client n joins the room with the suffix n modulo `rooms`. */
  room: z.string(),
  rooms: z.number().int().positive(),
});
const { ports, clients, room: name, rooms } = Settings.parse(JSON.parse(process.argv[2] ?? '{}'));

/** Addresses of 127.0.1.0/24 that clients connect from. */
const ADDRESSES = 16;
/** Clients that open a connection at the same time, at the start. */
const OPENING = 50;
/** Milliseconds of `spin` in a turn of the loop. */
const SPIN_MS = 5;

let [address, movedAt] = [`127.0.0.1:${ports[0]}`, Number.POSITIVE_INFINITY];
const [resumed, lasts] = [new Set<number>(), new Array<number>(clients).fill(0)];
let [lost, twice, resets] = [0, 0, 0];
/**
 * A WebSocket that connects from one of ADDRESSES addresses: the kernel takes milliseconds to find a free port where one
 * address has thousands of connections. To connect takes `ws` less time than Node's own WebSocket.
 */
const sockets = Array.from({ length: ADDRESSES }, (_, i) => {
  const Base = class extends LeanWebSocket {
    constructor(url: string, protocols: string[]) {
      super(url, protocols, { localAddress: `127.0.1.${i + 1}` });
    }
  };
  return redirectedSocket(() => address, undefined, Base as unknown as typeof WebSocket);
});

let next = 0;
await Promise.all(Array.from({ length: Math.min(OPENING, clients) }, openAll));
say({ event: 'ready' });

createInterface({ input: process.stdin })
  .on('line', (line) => {
    const [command, argument] = line.split(' ');
    if (command === 'spin') spin(performance.now() + Number(argument));
    else if (command === 'moved') {
      address = `127.0.0.1:${ports[1]}`;
      movedAt = performance.now();
    } else say(stat(Number(argument)));
  })
  .on('close', () => process.exit(0));

function spin(until: number) {
  const turn = performance.now() + SPIN_MS;
  while (performance.now() < turn);
  if (turn < until) setImmediate(spin, until);
}

async function openAll() {
  while (next < clients) await open(next++);
}

async function open(n: number) {
  const push = new PushClient(`ws://${address}/connect`, { WebSocket: sockets[n % ADDRESSES]! });
  const room = push.join<{ '@': number }>(`${name}-${n % rooms}`);
  room.on('item', ({ '@': mark }) => {
    const last = lasts[n]!;
    // The marks of a room are `rooms` apart.
    if (last > 0 && mark <= last) twice++;
    else if (last > 0) lost += (mark - last) / rooms - 1;
    lasts[n] = Math.max(last, mark);
  });
  room.on('reset', () => resets++);
  room.on('resumed', () => {
    if (performance.now() < movedAt || resumed.has(n)) return;
    resumed.add(n);
    if (resumed.size === clients) say({ event: 'resumed' });
  });
  await room.joined;
}

/** @param mark the last one that was pushed, in the last of the rooms */
function stat(mark: number) {
  const behind = lasts.filter((last, n) => last < mark - rooms + 1 + (n % rooms)).length;
  return { event: 'stat', resumed: resumed.size, lost, twice, resets, behind };
}

function say(message: object) {
  process.stdout.write(`${JSON.stringify(message)}\n`);
}
