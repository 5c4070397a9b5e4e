import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { z } from 'zod';
import { Actor } from '../actor.ts';
import { Audience, pause } from '../audience.ts';
import { cpuBetween, cpuOf, tree } from '../machine.ts';
import { type Outcome, round } from '../report.ts';
import type { Scale } from '../scale.ts';
import { Stack } from '../stack.ts';

const ROOMS = 100;
/** Clients with the SDK in one process: a connection is a descriptor. */
const CLIENTS_A_PROCESS = 5_000;
/** Clients that were at the other gateway before, and messages a second to their room and to each of the others. */
const [ELSEWHERE, ELSEWHERE_RATE, RATE] = [200, 25, 0.5];
const [STREAM, ROOM] = ['live-*', 'live-h'];
/** Seconds in which all are to be back. */
const WITHIN = 10;
/** Milliseconds that they may take. */
const PATIENCE_MS = 120_000;

const Seen = z.object({
  resumed: z.number(),
  lost: z.number(),
  twice: z.number(),
  resets: z.number(),
  behind: z.number(),
});
type Seen = z.infer<typeof Seen>;

/** A gateway with clients in rooms with history is killed: they resume at another one, where others are already. */
export async function resume({ connections, quick, progress }: Scale): Promise<Outcome> {
  const clients = Math.round(connections * 1.5);
  /** The first seconds of the storm: the time in which the latency of others is measured. */
  const seconds = quick ? 3 : 6;
  const stack = await Stack.start(undefined, { jetstream: true });
  try {
    const settings = { rooms: [{ match: STREAM, history: { messages: 1_000 } }] };
    const [victim, other] = [await stack.gateway(settings), await stack.gateway(settings)];
    const logic = await stack.logic(undefined, settings);
    const [publisher, elsewhere] = [await stack.publisher(logic), await stack.publisher(logic)];
    const audience = new Audience({ port: other.port, rate: 4_000, room: 'live-elsewhere' });
    await audience.open(ELSEWHERE);
    const pushAll = (forSeconds: number) => {
      const messages = ROOMS * Math.max(1, Math.round(forSeconds * RATE));
      return publisher.push({ room: ROOM, rooms: ROOMS, via: 'logic', rate: ROOMS * RATE, messages });
    };
    await pushAll(2);
    const script = join(import.meta.dirname, '../resumers.ts');
    const groups = Array.from({ length: Math.ceil(clients / CLIENTS_A_PROCESS) }, (_, i) => {
      const mine = Math.min(CLIENTS_A_PROCESS, clients - i * CLIENTS_A_PROCESS);
      const options = { ports: [victim.port, other.port], clients: mine, room: ROOM, rooms: ROOMS };
      // Clients have machines of their own: these get what servers and those who measure leave of both cores, and are
      // interrupted at once when one of those has work. With a low priority alone they would finish their time slice.
      const args = ['--idle', '0', process.execPath, script, JSON.stringify(options)];
      return new Actor('SDK clients', undefined, 'chrt', args);
    });
    try {
      await Promise.all(groups.map((group) => group.next('ready', PATIENCE_MS * 5)));
      progress(`${clients} clients are there`);
      const latencyWhile = async (storm?: () => Promise<unknown>) => {
        await audience.start();
        const pushing = elsewhere.push({
          room: 'live-elsewhere',
          via: 'logic',
          rate: ELSEWHERE_RATE,
          messages: ELSEWHERE_RATE * seconds,
        });
        const stormed = await storm?.();
        const { lastMark } = await pushing;
        const { latency } = await audience.drained(lastMark);
        return { p99: latency.p99 / 1_000, stormed };
      };
      // Each room has a message before, and in the middle.
      await pushAll(2);
      const quiet = await latencyWhile();
      // Everything here shares two cores. In the storm clients use all that is left of them: so they do before it.
      for (const group of groups) group.send(`spin ${seconds * 1_000}`);
      const before = await latencyWhile();
      const readsBefore = await other.metric('pushcluster_gateway_history_reads_total');
      const pushing = pushAll(seconds);
      await pause(500);
      let [took, share] = [Number.NaN, Number.NaN];
      const during = await latencyWhile(async () => {
        const all = Promise.all(groups.map((group) => group.next('resumed', PATIENCE_MS)));
        const [killed, cpu] = [performance.now(), cpuOf(other.actor.pid)];
        const dying = tree(victim.actor.pid).reverse();
        // To close its sockets takes the kernel most of a second, in production on another machine.
        for (const pid of dying) execFileSync('chrt', ['--all-tasks', '--idle', '--pid', '0', String(pid)]);
        for (const pid of dying) process.kill(pid, 'SIGKILL');
        for (const group of groups) group.send('moved');
        await all.catch(() => {});
        took = (performance.now() - killed) / 1_000;
        const { user, system } = cpuBetween(cpu, cpuOf(other.actor.pid));
        share = (user + system) / took;
      });
      await pushing;
      const { lastMark } = await pushAll(2);
      await pause(3_000);
      const seen = await Promise.all(groups.map((group) => stat(group, lastMark)));
      const reads = (await other.metric('pushcluster_gateway_history_reads_total')) - readsBefore;
      const refused = await other.metric('pushcluster_gateway_refused_total');
      const sum = (key: keyof Seen) => seen.reduce((total, each) => total + each[key], 0);
      const [resumed, lost, twice, resets, behind] = (['resumed', 'lost', 'twice', 'resets', 'behind'] as const).map(
        sum,
      );
      progress(
        `${resumed} of ${clients} resumed in ${round(took)} s, with ${round(share * 100)} % of a core; ${reads} reads; ${refused} handshakes refused; p99 ${round(during.p99)} ms`,
      );
      const ratio = during.p99 / before.p99;
      const isWhole = resumed === clients && lost! + twice! + resets! + behind! === 0;
      return {
        rows: [
          {
            case: 'resume',
            figure: `${clients.toLocaleString('en')} SDK clients in ${ROOMS} rooms with history, their gateway is killed: all back, s`,
            ours: round(took),
            reference: `${resumed!.toLocaleString('en')} of ${clients.toLocaleString('en')} resumed`,
            target: `≤ ${WITHIN}`,
            met: resumed === clients && took <= WITHIN,
          },
          {
            case: 'resume',
            figure: 'items lost / twice / clients reset / behind at the end',
            ours: `${lost} / ${twice} / ${resets} / ${behind}`,
            target: 'none',
            met: isWhole,
          },
          {
            case: 'resume',
            figure: 'reads of the stream a room',
            ours: round(reads / ROOMS),
            target: '≤ 2',
            met: reads <= ROOMS * 2,
          },
          {
            case: 'resume',
            figure: `accepted → received of ${ELSEWHERE} clients who were at the other gateway, ms (p99)`,
            ours: round(during.p99),
            reference: `before, with clients as busy ${round(before.p99)}, idle ${round(quiet.p99)}`,
            ratio,
            target: '≤ 1.2 ×',
            met: ratio <= 1.2,
          },
        ],
        notes: [
          `resume: one run. Both gateways share a core, and logic, NATS and those who measure the other. ${groups.length} processes with the SDK get what is left of both, as does the end of the killed gateway (SCHED_IDLE).`,
          `resume: the others are measured for ${seconds} s, with ${ELSEWHERE_RATE} messages a second: from the kill on, and before it while the processes with the SDK use the processor as much.`,
        ],
        data: { clients, took, share, seen, reads, refused, quiet, before, during },
      };
    } finally {
      await Promise.all(groups.map((group) => group.stop()));
    }
  } finally {
    await stack.stop();
  }
}

async function stat(group: Actor, lastMark: number): Promise<Seen> {
  group.send(`stat ${lastMark}`);
  return Seen.parse(await group.next('stat'));
}
