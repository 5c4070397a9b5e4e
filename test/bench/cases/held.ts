import { Audience } from '../audience.ts';
import { descriptorLimit, memoryOf } from '../machine.ts';
import { type Outcome, round } from '../report.ts';
import type { Scale } from '../scale.ts';
import { Stack } from '../stack.ts';

/** Maximum connections of one client process, whatever the limits of the machine. */
const CLIENT_MOST = 15_000;
const SPARE_DESCRIPTORS = 100;
/** Number of connections to try if file descriptors are not the limit. */
const TRIED = 40_000;

/** The maximum number of connections of one gateway with one shard, and the answers to further connections. */
export async function held({ quick, progress }: Scale): Promise<Outcome> {
  const limit = descriptorLimit();
  const wanted = quick ? 600 : Math.min(limit, TRIED) + 500;
  const each = Math.min(CLIENT_MOST, limit - SPARE_DESCRIPTORS);
  const stack = await Stack.start();
  const audiences: Audience[] = [];
  const refused: Record<string, number> = {};
  let open = 0;
  try {
    const gateway = await stack.gateway();
    for (let first = 0; first < wanted; first += each) {
      const audience = new Audience({ port: gateway.port, rate: 3_000, first });
      audiences.push(audience);
      const opened = await audience.tryOpen(Math.min(each, wanted - first));
      open += opened.joined;
      for (const [status, count] of Object.entries(opened.refused)) refused[status] = (refused[status] ?? 0) + count;
      progress(`${open} connections held`);
    }
    const alive = await gateway.metric('pushcluster_gateway_connections');
    const { rss } = memoryOf(gateway.actor.pid);
    const others = Object.entries(refused).map(
      ([status, count]) => `${count} × ${status === '0' ? 'no answer' : `HTTP ${status}`}`,
    );
    const reached = open < wanted;
    return {
      rows: [
        {
          case: 'held',
          figure: `connections held at most by one shard (${round(rss / 1024 ** 2)} MB of RSS in all)`,
          ours: open.toLocaleString('en'),
          reference: reached
            ? `descriptors ${limit.toLocaleString('en')} a process; beyond: ${others.join(', ')}`
            : `all that were tried; descriptors ${limit.toLocaleString('en')} a process`,
        },
      ],
      notes: [
        reached
          ? `held: the limit is this machine's ${limit.toLocaleString('en')} descriptors a process, not the gateway; each further shard is a process with its own.`
          : `held: the bench tries ${wanted.toLocaleString('en')}; no limit was met.`,
      ],
      data: { open, refused, gatewaySays: alive, rss, limit },
    };
  } finally {
    for (const audience of audiences) await audience.actor.stop();
    await stack.stop();
  }
}
