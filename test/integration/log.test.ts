import assert from 'node:assert/strict';
import { createConnection } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { encodePush } from '@pushcluster/protocol/push.ts';
import { Settings } from '@pushcluster/protocol/settings.ts';
import { Subjects } from '@pushcluster/protocol/subjects.ts';
import type { Bus } from '@pushcluster/runtime/bus/bus.ts';
import { openBus } from '@pushcluster/runtime/bus/openBus.ts';
import { createLog } from '@pushcluster/runtime/log.ts';
import { Connection, cutAll } from '../harness/connection.ts';
import { type NatsServer, startNatsServer } from '../harness/natsServer.ts';
import { type GatewayProcess, type LogicProcess, startGateway, startLogic } from '../harness/processes.ts';
import { upgradeRequest } from '../harness/rawWebSocket.ts';
import { until } from '../harness/until.ts';

const EVENTS = 400;
/** As long as the engine takes headers. */
const LONG = 'x'.repeat(12_000);
/**
 * Of the log for one storm, whatever it is about, for as many seconds as it takes: a line for each event would be far
 * more.
 */
const mostBytes = (seconds: number) => 30_000 + 2_000 * seconds;
/** The first of a kind, one for each second, and what is still told of the storm before. */
const mostLines = (seconds: number) => 40 + seconds;

let nats: NatsServer;
let gateway: GatewayProcess;
let logic: LogicProcess;
let bus: Bus;

before(async () => {
  nats = await startNatsServer();
  const settings = {
    log: { level: 'debug' as const },
    auth: { allowedOrigins: ['https://good.example'] },
    gateway: { shards: 1, inbound: { frameRate: 10_000 } },
  };
  gateway = await startGateway({ settings, nats: [nats.url] });
  logic = await startLogic({ settings: { log: { level: 'debug' } }, nats: [nats.url] });
  bus = openBus(Settings.parse({ bus: { nats: { servers: [nats.url] } } }).bus, {
    log: createLog('test', 'error'),
    name: 'test',
  });
  await until('the bus is there', () => bus.connected);
});
after(async () => {
  await bus.close();
  await Promise.all([gateway.stop(), logic.stop()]);
  await nats.stop();
});

type Storm = {
  what: string;
  of: () => { readonly output: string };
  /** Of the lines; undefined: it leaves no line at all. */
  message: string | undefined;
  code?: string;
  /** Makes it happen EVENTS times. */
  rage: () => Promise<unknown>;
};

const inGateway = () => gateway;
const inLogic = () => logic;
const subjects = new Subjects('pushcluster');

const STORMS: readonly Storm[] = [
  {
    what: 'handshakes of another origin',
    of: inGateway,
    message: 'handshake refused',
    code: 'origin',
    rage: () => each(() => handshake({ Origin: `https://${LONG}` })),
  },
  {
    what: 'handshakes of another origin that are told by a close code',
    of: inGateway,
    message: 'handshake refused',
    code: 'origin',
    rage: () => each(() => handshake({ Origin: `https://${LONG}`, 'Sec-WebSocket-Protocol': 'pushcluster.v1' })),
  },
  {
    what: 'handshakes of another version',
    of: inGateway,
    message: 'handshake refused',
    code: 'version',
    rage: () => each(() => handshake({ 'Sec-WebSocket-Version': LONG })),
  },
  {
    what: 'requests for nothing',
    of: inGateway,
    message: undefined,
    rage: () => each(() => handshake({}, `/${LONG}`)),
  },
  {
    what: 'frames that are not JSON',
    of: inGateway,
    message: 'closing',
    code: '1008',
    rage: () => each(async () => (await Connection.open({ port: gateway.port })).send('{')),
  },
  {
    what: 'frames that are too large',
    of: inGateway,
    message: 'closing',
    code: '1009',
    rage: () => each(async () => (await Connection.open({ port: gateway.port })).send(LONG)),
  },
  {
    what: 'frames that are refused',
    of: inGateway,
    message: 'frame refused',
    code: 'bad_room',
    rage: () => frames(() => ({ type: 'JOIN', id: 1, data: { room: 'x'.repeat(2_000) } })),
  },
  {
    what: 'tokens in band that are refused',
    of: inGateway,
    message: 'AUTH refused',
    rage: () => frames((n) => ({ type: 'AUTH', id: n, data: { token: 'x'.repeat(3_000) } })),
  },
  {
    what: 'bus messages that are none',
    of: inGateway,
    message: 'bus message ignored',
    rage: () => publish(subjects.all, () => Buffer.from(LONG)),
  },
  {
    what: 'commands that are none',
    of: inGateway,
    message: 'bus message ignored',
    rage: () => publish(subjects.command, () => Buffer.from(LONG)),
  },
  {
    what: 'items that are lost on the bus',
    of: inGateway,
    message: 'items were lost on the bus',
    rage: () => publish(subjects.all, (n) => pushOf(1 + 10 * n)),
  },
  {
    what: 'paths that are not there',
    of: inLogic,
    message: 'request refused',
    code: 'not_found',
    rage: () => each(() => ask(`/${LONG}`)),
  },
  {
    what: 'bodies that are wrong',
    of: inLogic,
    message: 'request refused',
    code: 'invalid_request',
    rage: () => each(() => logic.post('/v1/push', JSON.stringify({ to: { [LONG]: LONG }, items: [] }))),
  },
  { what: 'requests that are none', of: inLogic, message: undefined, rage: () => each(() => raw(logic.port, LONG)) },
];

describe('a storm of what a stranger can cause is some lines in the log, which count the others', () => {
  for (const { what, of, message, code, rage } of STORMS)
    it(what, async (t) => {
      const process = of();
      const from = process.output.length;
      const began = performance.now();
      await rage();
      const lines = () => process.output.slice(from).split('\n').slice(0, -1);
      // The last count comes seconds later, since no other line of the kind does.
      if (message !== undefined)
        await until('all are accounted for', () => accountedFor(lines(), message, code) >= EVENTS);
      const bytes = process.output.length - from;
      const seconds = (performance.now() - began) / 1_000;
      t.diagnostic(`${bytes} bytes in ${lines().length} lines, in ${seconds.toFixed(1)} s`);
      assert.ok(bytes < mostBytes(seconds), `${bytes} bytes`);
      assert.ok(lines().length < mostLines(seconds), `${lines().length} lines`);
    });

  it('the socket of a refused handshake is closed, and the answer arrives whole', async () => {
    const one = await raw(gateway.port, upgradeRequest('/connect', { headers: { Origin: 'https://evil.example' } }));
    assert.match(one, /^HTTP\/1\.1 403 /);
    assert.match(one, /"code":"origin","detail":"origin https:\/\/evil\.example is not allowed"\}$/);
    const from = gateway.output.length;
    const began = performance.now();
    const many = await raw(
      gateway.port,
      upgradeRequest('/connect', { headers: { Origin: `https://${LONG}` } }).repeat(2_000),
    );
    // What the engine had read already when it was to close is answered too.
    assert.ok((many.match(/HTTP\/1\.1/g)?.length ?? 0) < 100);
    assert.ok(gateway.output.length - from < mostBytes((performance.now() - began) / 1_000));
  });
});

async function each(event: () => Promise<unknown>): Promise<void> {
  for (let left = EVENTS; left > 0; left -= 20) await Promise.all(Array.from({ length: 20 }, event));
}

/** Sends EVENTS frames on one connection, and waits until they are answered. */
async function frames(frame: (n: number) => object): Promise<void> {
  const connection = await Connection.open({ port: gateway.port, form: 'v1' });
  const counted = async () => (await gateway.metrics()).sum('pushcluster_gateway_frames_received_total');
  const before = await counted();
  for (let n = 1; n <= EVENTS; n++) connection.send(frame(n));
  await until('all are read', async () => (await counted()) >= before + EVENTS);
  cutAll([connection]);
}

async function publish(subject: string, message: (n: number) => Uint8Array): Promise<void> {
  for (let n = 0; n < EVENTS + 1; n++) bus.publish(subject, message(n));
  await bus.flush();
}

function pushOf(counter: number): Uint8Array {
  const bytes = Buffer.from('1');
  const items = { lengths: Uint32Array.of(1), bytes };
  return encodePush({
    publisher: 'stranger',
    counter,
    at: Date.now(),
    begun: 1,
    beat: 0,
    mark: counter,
    first: 0,
    urgent: false,
    id: '',
    items,
  });
}

function handshake(headers: Record<string, string>, path = '/connect'): Promise<string> {
  return raw(gateway.port, upgradeRequest(path, { headers }));
}

async function ask(path: string): Promise<void> {
  await (await fetch(`http://127.0.0.1:${logic.port}${path}`)).arrayBuffer();
}

/** Writes `text`, and reads until the other side has ended; a moment after the first answer where it doesn't. */
async function raw(port: number, text: string): Promise<string> {
  const socket = createConnection(port, '127.0.0.1');
  let answer = '';
  socket.on('error', () => {});
  socket.setEncoding('utf8').on('data', (part: string) => {
    answer += part;
    setTimeout(() => socket.end(), 100).unref();
  });
  socket.write(text);
  // Not events.once: that rejects on the reset that a server's early end may be.
  await new Promise((resolve) => socket.once('close', resolve));
  return answer;
}

/** Events of a kind that the lines stand for. */
function accountedFor(lines: readonly string[], message: string, code: string | undefined): number {
  let events = 0;
  for (const line of lines) {
    const { msg, of, suppressed = 0, ...fields } = JSON.parse(line);
    if ((of ?? msg) !== message || (code !== undefined && String(fields.code) !== code)) continue;
    events += suppressed + (of === undefined ? 1 : 0);
  }
  return events;
}
