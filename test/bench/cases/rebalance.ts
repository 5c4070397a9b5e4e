import { Connection, cutAll } from '../../harness/connection.ts';
import { Audience, pause } from '../audience.ts';
import { type Outcome, round } from '../report.ts';
import type { Scale } from '../scale.ts';
import { type Publisher, QUIET_MS, type Server, Stack } from '../stack.ts';

const MOVED = 'pushcluster_gateway_moved_total';
/** Milliseconds that a gateway waits before it moves connections, plus one second. */
const HOLD_MS = 9_000;
/** Milliseconds within which the rebalance must begin. */
const BEGINS_WITHIN = 30_000;

/** An empty gateway joins a full one: do moves of connections affect the latency of messages? */
export async function rebalance({ connections, quick, progress }: Scale): Promise<Outcome> {
  const [movers, stayers] = [connections / 5, connections / 20];
  const stack = await Stack.start();
  const people = new Set<Connection>();
  try {
    const publisher = await stack.publisher(await stack.logic());
    const settings = { gateway: { rebalance: { minimum: 10 } } };
    const full = await stack.gateway(settings);
    const audiences = [new Audience({ port: full.port, rate: 4_000 })];
    await audiences[0]!.open(stayers);
    for (let left = movers; left > 0; left -= 100)
      await Promise.all(Array.from({ length: Math.min(100, left) }, () => person(people, full.port)));
    const empty = await stack.gateway(settings);
    const joined = performance.now();
    for (const each of people) movesTo(people, each, empty.port);
    audiences.push(new Audience({ port: empty.port, rate: 4_000 }));
    await audiences[1]!.open(stayers);

    // The first push of a process includes the compilation of logic's code, so it is not measured.
    await latencies(audiences, publisher, once());
    const before = await latencies(audiences, publisher, async () => performance.now() - joined < HOLD_MS);
    await begun(full);
    const began = performance.now();
    let last = -1;
    const during = await latencies(audiences, publisher, async () => {
      const moved = await full.metric(MOVED, 'rebalance');
      const goesOn = moved > last;
      last = moved;
      return goesOn;
    });
    const seconds = (performance.now() - began) / 1_000;
    progress(`${last} moved in ${round(seconds)} s; p99 ${round(during.p99)} ms, before ${round(before.p99)} ms`);
    const ratio = during.p99 / before.p99;
    return {
      rows: [
        {
          case: 'rebalance',
          figure: `accepted → received, quiet room, while ${last.toLocaleString('en')} of ${(movers + stayers).toLocaleString('en')} connections are moved, ms (p99)`,
          ours: round(during.p99),
          reference: `before ${round(before.p99)}`,
          ratio,
          target: 'p99 ≤ 1.1 ×',
          met: ratio <= 1.1,
        },
      ],
      notes: [
        `rebalance: ${before.messages} messages before and ${during.messages} during the moves, of one run; the worse of both gateways, which share a core.`,
      ],
      data: { before, during, moved: last, seconds, quick },
    };
  } finally {
    cutAll(people);
    await stack.stop();
  }
}

/**
 * The p99 latency of single messages while `goesOn` returns true, milliseconds: that of the audience with the higher
 * one.
 */
async function latencies(audiences: readonly Audience[], publisher: Publisher, goesOn: () => Promise<boolean>) {
  for (const audience of audiences) await audience.start();
  let messages = 0;
  while (await goesOn()) {
    const { lastMark } = await publisher.push({ room: 'live', via: 'logic', rate: 1_000, messages: 1 });
    for (const audience of audiences) await audience.drained(lastMark);
    messages++;
    await pause(QUIET_MS);
  }
  const stats = await Promise.all(audiences.map((audience) => audience.stat()));
  return { messages, p99: Math.max(...stats.map(({ latency }) => latency.p99)) / 1_000 };
}

/** Returns a function that returns true only at its first call. */
function once(): () => Promise<boolean> {
  let asked = false;
  return async () => {
    const first = !asked;
    asked = true;
    return first;
  };
}

async function begun(gateway: Server): Promise<void> {
  const until = performance.now() + BEGINS_WITHIN;
  while ((await gateway.metric(MOVED, 'rebalance')) === 0) {
    if (performance.now() > until) throw new Error(`nobody was moved within ${BEGINS_WITHIN / 1_000} s`);
    await pause(100);
  }
}

async function person(people: Set<Connection>, port: number): Promise<void> {
  people.add(await Connection.open({ port, form: 'v1' }));
}

/** When the gateway asks the connection to move, opens another connection to `port` and closes this one. */
function movesTo(people: Set<Connection>, connection: Connection, port: number): void {
  connection.onReconnect = () =>
    void person(people, port).then(() => {
      connection.close();
      people.delete(connection);
    });
}
