import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { Actor } from '../actor.ts';
import { Audience, pause } from '../audience.ts';
import { BUILD } from '../compile.ts';
import { memoryOf, SERVER_CORE } from '../machine.ts';
import { type Measured, measured } from '../measure.ts';
import { type Outcome, type Row, round } from '../report.ts';
import type { Scale } from '../scale.ts';
import { Publisher } from '../stack.ts';

const SOCKET_IO = '4.8.4';
const RATE = 10;

type Peer = {
  name: string;
  start(): Actor;
  /** How a client joins a room of this server. */
  client: { path: string; hello?: string; ready: string };
};

const PEERS_FOLDER = join(import.meta.dirname, '../peers');

const PEERS: readonly Peer[] = [
  {
    name: 'ws (npm)',
    start: () => new Actor('ws', SERVER_CORE, process.execPath, [join(PEERS_FOLDER, 'ws.ts')]),
    client: { path: '/', ready: '"OK"' },
  },
  {
    name: `socket.io ${SOCKET_IO}`,
    start: () =>
      new Actor('socket.io', SERVER_CORE, process.execPath, [join(PEERS_FOLDER, 'socketIo.ts'), installSocketIo()]),
    client: { path: '/socket.io/?EIO=4&transport=websocket', hello: '40', ready: '40{' },
  },
  {
    name: 'centrifuge 0.40 (Go)',
    start: () => new Actor('centrifuge', SERVER_CORE, buildCentrifuge(), [], { GOMAXPROCS: '1' }),
    client: {
      path: '/connect',
      hello: '{"id":1,"connect":{}}\n{"id":2,"subscribe":{"channel":"live"}}',
      ready: '"id":2',
    },
  },
];

/** Other servers with the load of the case `merged`. They send one frame per message. */
export async function peers({ connections, seconds, quick, progress }: Scale): Promise<Outcome> {
  const rows: Row[] = [];
  const data: Record<string, unknown> = {};
  for (const { name, start, client } of PEERS) {
    progress(`peer ${name}`);
    const server = start();
    const { port } = z.object({ port: z.number() }).parse(await server.next('listening'));
    const url = `http://127.0.0.1:${port}/push`;
    const publisher = await Publisher.start({ nats: '', prefix: 'bench', logicPort: 0, url });
    const audience = new Audience({ port, rate: 2_000, ...client });
    const half = connections / 2;
    await audience.open(half);
    const before = memoryOf(server.pid);
    await audience.open(connections - half);
    const rss = (memoryOf(server.pid).rss - before.rss) / (connections - half);
    const push = (duration: number) =>
      publisher.push({ room: 'live', via: 'peer', rate: RATE, messages: RATE * duration });
    await audience.drained((await push(1)).lastMark);
    await pause(500);
    const run = await measured(server.pid, audience, () => push(seconds));
    rows.push(...rowsOf(name, run, rss, seconds));
    data[name] = { run, rss };
    progress(`${name}: ${round(run.messageUs)} µs a delivered message`);
    for (const actor of [audience.actor, publisher.actor, server]) await actor.stop();
  }
  return {
    rows,
    notes: [
      `peers: ${RATE} messages a second of 100 bytes, a frame each, one run; their push goes straight to the process, with no logic and no NATS between.`,
      ...(quick ? [] : ['peers: a server share of 100 % means that its figures are those of a saturated server.']),
    ],
    data,
  };
}

function rowsOf(name: string, run: Measured, rss: number, seconds: number): Row[] {
  const times = (['p50', 'p99', 'max'] as const).map((key) => round(run.stat.latency[key] / 1_000)).join(' / ');
  const late =
    run.stat.seconds > seconds * 1.1 ? `; done after ${run.stat.seconds.toFixed(1)} s in place of ${seconds}` : '';
  return [
    {
      case: 'peers',
      figure: `${name}: CPU a delivered message, µs`,
      ours: round(run.messageUs),
      reference: `server ${Math.round(100 * run.serverShare)} % busy${late}`,
    },
    { case: 'peers', figure: `${name}: accepted → received, ms (p50 / p99 / max)`, ours: times },
    { case: 'peers', figure: `${name}: RSS of an idle connection, KB`, ours: (rss / 1024).toFixed(1) },
  ];
}

function installSocketIo(): string {
  const folder = join(BUILD, `socket.io-${SOCKET_IO}`);
  if (existsSync(join(folder, 'node_modules/socket.io/package.json'))) return folder;
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'package.json'), '{"private":true}');
  execFileSync('npm', ['install', '--no-audit', '--no-fund', '--silent', `socket.io@${SOCKET_IO}`], { cwd: folder });
  return folder;
}

/** Built outside the source tree, because Go writes into the folder of a module. */
function buildCentrifuge(): string {
  const folder = join(BUILD, 'centrifuge');
  const program = join(folder, 'centrifuge');
  cpSync(join(PEERS_FOLDER, 'centrifuge'), folder, { recursive: true });
  execFileSync('go', ['build', '-o', program, '.'], { cwd: folder, stdio: ['ignore', 'inherit', 'inherit'] });
  return program;
}
