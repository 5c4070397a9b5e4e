/**
 * The limit of the engine alone: prepared merged frames from memory, without bus, hub and sessions.
 * Commands on standard input, one JSON line each: `{"items":1000,"rate":2,"seconds":5,"mode":"publish"}` sends a frame
 * of that many 100-byte items `rate` times per second, by topic or by a loop of send. Usage: uwsloop.ts (prints its
 * port)
 */

import uWS from 'uWebSockets.js';
import { createInterface } from 'node:readline';
import { z } from 'zod';
import { ItemMaker, stampNow } from './items.ts';

const Command = z.object({
  items: z.number().int().positive(),
  rate: z.number().positive(),
  seconds: z.number().positive(),
  mode: z.enum(['publish', 'send']),
});

type Place = { index: number };

const sockets: uWS.WebSocket<Place>[] = [];
const maker = new ItemMaker('plain');
const encoder = new TextEncoder();
const app = uWS.App();

app.ws<Place>('/*', {
  // The limit of the gateway.
  maxBackpressure: 1_048_576,
  idleTimeout: 120,
  sendPingsAutomatically: true,
  compression: uWS.DISABLED,
  upgrade: (res, req, context) => {
    res.upgrade<Place>({ index: 0 }, req.getHeader('sec-websocket-key'), '', '', context);
  },
  open: (ws) => {
    ws.getUserData().index = sockets.push(ws) - 1;
    ws.subscribe('live');
  },
  close: (ws) => {
    const { index } = ws.getUserData();
    const last = sockets.pop()!;
    if (last === ws) return;
    sockets[index] = last;
    last.getUserData().index = index;
  },
});

app.listen('127.0.0.1', 0, (socket) => {
  if (!socket) throw new Error('can not listen on 127.0.0.1');
  say({ event: 'listening', port: uWS.us_socket_local_port(socket) });
});

createInterface(process.stdin)
  .on('line', (line) => run(Command.parse(JSON.parse(line))))
  .on('close', () => process.exit(0));

function run({ items, rate, seconds, mode }: z.infer<typeof Command>) {
  const started = performance.now();
  const frames = Math.max(1, Math.round(rate * seconds));
  let sent = 0;
  let lateMs = 0;
  const step = () => {
    if (sent === frames) {
      say({
        event: 'done',
        published: sent * items,
        lastMark: maker.mark,
        seconds: (performance.now() - started) / 1_000,
        lateMs,
      });
      return;
    }
    // A frame is due at the end of the period whose items it contains.
    const wait = started + ((sent + 1) * 1_000) / rate - performance.now();
    if (wait > 0.5) {
      setTimeout(step, wait);
      return;
    }
    lateMs = Math.max(lateMs, -wait);
    sent++;
    const bytes = frameOf(items);
    if (mode === 'publish') app.publish('live', bytes, false, false);
    else for (const ws of sockets) ws.send(bytes, false, false);
    // Not from the engine's own callbacks: setImmediate lets the sockets drain between two frames.
    setImmediate(step);
  };
  setImmediate(step);
}

function frameOf(items: number): Uint8Array {
  const stamp = stampNow();
  const list = Array.from({ length: items }, () => maker.next(stamp));
  return encoder.encode(`{"type":"PUSH","data":{"room":"live","items":[${list.join(',')}]}}`);
}

function say(message: object) {
  process.stdout.write(`${JSON.stringify(message)}\n`);
}
