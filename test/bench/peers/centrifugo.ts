import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { Actor } from '../actor.ts';
import { pause } from '../audience.ts';
import { BUILD } from '../compile.ts';
import { SERVER_CORE } from '../machine.ts';
import type { ServerUnderTest } from '../serverUnderTest.ts';
import { freePorts, Publisher } from '../stack.ts';

export const CENTRIFUGO = '6.9.1';
const START_MS = 10_000;

/**
 * Starts Centrifugo with the memory engine on one core of the server: the defaults, but for what lets the clients of the
 * bench in without tokens, and for pings, which they do not answer. A user has a channel of its own, as Centrifugo's
 * documentation has it.
 */
export async function centrifugo(): Promise<ServerUnderTest> {
  const program = build();
  const folder = mkdtempSync(join(tmpdir(), 'centrifugo-'));
  const [port = 0] = await freePorts(1);
  const file = join(folder, 'centrifugo.json');
  writeFileSync(
    file,
    JSON.stringify({
      http_server: { address: '127.0.0.1', port: String(port) },
      http_api: { insecure: true },
      client: { allow_anonymous_connect_without_token: true, allowed_origins: ['*'], ping_interval: '1h' },
      channel: { without_namespace: { allow_subscribe_for_client: true, allow_subscribe_for_anonymous: true } },
      log: { level: 'error' },
    }),
  );
  const actor = new Actor('centrifugo', SERVER_CORE, program, ['-c', file], { GOMAXPROCS: '1' });
  const api = `http://127.0.0.1:${port}/api/publish`;
  await answers(api);
  const publisher = await Publisher.start({ url: api });
  return {
    name: `Centrifugo ${CENTRIFUGO}`,
    port,
    client: {
      path: '/connection/websocket',
      hello: '{"id":1,"connect":{}}\n{"id":2,"subscribe":{"channel":"{room}"}}',
      ready: '"id":2',
    },
    publisher,
    via: 'centrifugo',
    processes: { all: actor.pid },
    async stop() {
      await Promise.all([publisher.actor.stop(), actor.stop()]);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function answers(api: string): Promise<void> {
  const deadline = performance.now() + START_MS;
  for (;;) {
    try {
      const body = JSON.stringify({ channel: 'start', data: {} });
      if ((await fetch(api, { method: 'POST', body })).ok) return;
    } catch {
      // It does not listen yet.
    }
    if (performance.now() > deadline) throw new Error(`Centrifugo does not answer after ${START_MS / 1_000} s`);
    await pause(50);
  }
}

/** Builds Centrifugo from its Go module, once: some minutes. */
function build(): string {
  const folder = join(BUILD, `centrifugo-${CENTRIFUGO}`);
  const program = join(folder, 'centrifugo');
  if (existsSync(program)) return program;
  const module = `github.com/centrifugal/centrifugo/v6@v${CENTRIFUGO}`;
  const go = (args: string[], cwd: string) =>
    execFileSync('go', args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env } });
  mkdirSync(folder, { recursive: true });
  const { Dir } = z.object({ Dir: z.string() }).parse(JSON.parse(go(['mod', 'download', '-json', module], folder)));
  const source = join(folder, 'source');
  cpSync(Dir, source, { recursive: true, mode: 0 });
  execFileSync('chmod', ['-R', 'u+w', source]);
  go(['build', '-o', `${program}.part`, '.'], source);
  renameSync(`${program}.part`, program);
  return program;
}
