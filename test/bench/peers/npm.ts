import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { Actor } from '../actor.ts';
import { BUILD } from '../compile.ts';
import { SERVER_CORE } from '../machine.ts';
import type { ServerUnderTest } from '../serverUnderTest.ts';
import { Publisher } from '../stack.ts';

const SOCKET_IO = '4.8.4';
/** Native code that ws recommends for masks. */
const BUFFERUTIL = '4.0.9';

/** A server of a few lines with the package `ws`, as its users write it (wsServer.ts). */
export function ws(): Promise<ServerUnderTest> {
  return serverOf('ws (npm)', 'wsServer.ts', [], { path: '/', ready: '"OK"' });
}

/** A server of a few lines with the package `socket.io` and its transport of WebSockets (socketIoServer.ts). */
export function socketIo(): Promise<ServerUnderTest> {
  return serverOf(`socket.io ${SOCKET_IO}`, 'socketIoServer.ts', [installSocketIo()], {
    path: '/socket.io/?EIO=4&transport=websocket',
    hello: '40{"room":"{room}"}',
    ready: '40{',
  });
}

async function serverOf(
  name: string,
  script: string,
  args: readonly string[],
  client: ServerUnderTest['client'],
): Promise<ServerUnderTest> {
  const actor = new Actor(name, SERVER_CORE, process.execPath, [join(import.meta.dirname, script), ...args]);
  const { port } = z.object({ port: z.number() }).parse(await actor.next('listening'));
  const publisher = await Publisher.start({ url: `http://127.0.0.1:${port}/push` });
  return {
    ...{ name, port, client, publisher },
    via: 'peer',
    processes: { all: actor.pid },
    stop: async () => void (await Promise.all([publisher.actor.stop(), actor.stop()])),
  };
}

function installSocketIo(): string {
  const folder = join(BUILD, `socket.io-${SOCKET_IO}`);
  if (existsSync(join(folder, 'node_modules/socket.io/package.json'))) return folder;
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'package.json'), '{"private":true}');
  const packages = [`socket.io@${SOCKET_IO}`, `bufferutil@${BUFFERUTIL}`];
  execFileSync('npm', ['install', '--no-audit', '--no-fund', '--silent', ...packages], { cwd: folder });
  return folder;
}
