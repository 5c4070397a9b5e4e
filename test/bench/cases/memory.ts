import { join } from 'node:path';
import { createAuthority } from '../../harness/certificates.ts';
import { Actor } from '../actor.ts';
import { Audience, pause } from '../audience.ts';
import { CLIENT_CORE, descriptorLimit, kernelMemory, memoryOf, tree } from '../machine.ts';
import { medianOf } from '../measure.ts';
import type { Outcome, Row } from '../report.ts';
import type { Scale } from '../scale.ts';
import { type Server, Stack } from '../stack.ts';
import { writeTokens } from '../tokens.ts';

/** Milliseconds until garbage collection and the kernel's queues have settled. */
const SETTLE_MS = 3_000;
/** File descriptors that server and client need beside their connections. */
const SPARE_DESCRIPTORS = 200;

/** Memory of a gateway without connections, in bytes: its hub and a shard. */
type Empty = { hub: number; shard: number };
type Slope = { variant: string; rss: number; anonymous: number; kernel: number };
type Crowd = { open(count: number): Promise<unknown>; stop(): Promise<void> };

/** Bytes for each further idle connection in one room: in the gateway's processes, and in the kernel. */
export async function memory({ quick, pairs, progress }: Scale): Promise<Outcome> {
  const most = Math.min(descriptorLimit() - SPARE_DESCRIPTORS, 15_000);
  const [low, high] = quick ? [200, 600] : [Math.round(most / 3), most];
  const slopes: Slope[] = [];
  const empties: Empty[] = [];
  const variants: [string, number, (stack: Stack) => Promise<{ gateway: Server; crowd: Crowd }>][] = [
    ['plain', Math.min(pairs, 3), plain],
    ['with a user (JWT)', 1, (stack) => withUsers(stack, high)],
    ['over TLS', 1, overTls],
  ];
  for (const [variant, runs, prepare] of variants) {
    for (let run = 0; run < runs; run++) {
      const stack = await Stack.start();
      const { gateway, crowd } = await prepare(stack);
      try {
        if (variant === 'plain') empties.push(await emptyOf(gateway));
        await crowd.open(low);
        const before = await settled(gateway);
        await crowd.open(high - low);
        const after = await settled(gateway);
        const each = (key: 'rss' | 'anonymous' | 'kernel') => (after[key] - before[key]) / (high - low);
        const slope = { variant, rss: each('rss'), anonymous: each('anonymous'), kernel: each('kernel') };
        slopes.push(slope);
        progress(`${variant}: ${kilo(slope.rss)} KB of RSS a connection, kernel ${kilo(slope.kernel)} KB`);
      } finally {
        await crowd.stop();
        await stack.stop();
      }
    }
  }
  const rows = variants.map(([variant]): Row => {
    const runs = slopes.filter((slope) => slope.variant === variant);
    const rss = medianOf(runs, (slope) => slope.rss);
    return {
      case: 'memory',
      figure: `RSS of an idle connection in one room, ${variant}, KB (slope ${low.toLocaleString('en')} → ${high.toLocaleString('en')})`,
      ours: kilo(rss),
      reference: `kernel, both ends, ${kilo(medianOf(runs, (slope) => slope.kernel))}`,
      ...(variant === 'plain' ? { target: '≤ 1.5 KB', met: rss <= 1.5 * 1024 } : {}),
    };
  });
  rows.push({
    case: 'memory',
    figure: 'RSS of a gateway that holds nobody, MB: the hub · a shard',
    ours: `${mega(medianOf(empties, ({ hub }) => hub))} · ${mega(medianOf(empties, ({ shard }) => shard))}`,
  });
  return {
    rows,
    notes: ['memory: KB is 1,024 bytes, MB 1,048,576; the kernel keeps both ends of these loopback connections.'],
    data: { slopes, empties },
  };
}

async function plain(stack: Stack) {
  const gateway = await stack.gateway();
  return { gateway, crowd: crowdOf(new Audience({ port: gateway.port, rate: 3_000 })) };
}

async function withUsers(stack: Stack, users: number) {
  const { auth, file } = writeTokens(stack.folder, users);
  const gateway = await stack.gateway({ auth });
  return { gateway, crowd: crowdOf(new Audience({ port: gateway.port, rate: 2_000, tokens: file })) };
}

async function overTls(stack: Stack) {
  const authority = await createAuthority();
  const tls = await authority.issue('IP:127.0.0.1');
  const gateway = await stack.gateway({ gateway: { tls } });
  const script = join(import.meta.dirname, '../tlsAudience.ts');
  const actor = new Actor('TLS client', CLIENT_CORE, process.execPath, [script, String(gateway.port), 'live']);
  const crowd: Crowd = {
    async open(count) {
      actor.send(`more ${count}`);
      const { failed } = await actor.next('opened', 180_000);
      if (failed !== 0) throw new Error(`${failed} of ${count} TLS connections failed`);
    },
    async stop() {
      await actor.stop();
      await authority.remove();
    },
  };
  return { gateway, crowd };
}

function crowdOf(audience: Audience): Crowd {
  return { open: (count) => audience.open(count), stop: () => audience.actor.stop() };
}

async function emptyOf(gateway: Server): Promise<Empty> {
  await pause(SETTLE_MS);
  const [hub, ...shards] = tree(gateway.actor.pid);
  const all = memoryOf(hub!).rss;
  const shard = shards.reduce((sum, pid) => sum + memoryOf(pid).rss, 0) / shards.length;
  return { hub: all - shard * shards.length, shard };
}

async function settled(gateway: Server) {
  await pause(SETTLE_MS);
  return { ...memoryOf(gateway.actor.pid), kernel: kernelMemory() };
}

function kilo(bytes: number): string {
  return (bytes / 1024).toFixed(2);
}

function mega(bytes: number): string {
  return (bytes / 1024 ** 2).toFixed(0);
}
