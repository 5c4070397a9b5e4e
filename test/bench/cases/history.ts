import { Audience, pause } from '../audience.ts';
import { cpuBetween, cpuOf } from '../machine.ts';
import { assertWhole, type Measured, measured, medianOf } from '../measure.ts';
import { type Outcome, type Row, round } from '../report.ts';
import type { Scale } from '../scale.ts';
import { Stack } from '../stack.ts';
import { FIRST } from '../workload.ts';
import { clientRow, WARM, WARM_MS } from './merged.ts';

const RATE = 10;
/** Milliseconds between two messages to a quiet room: each opens a window of its own. */
const QUIET_MS = 1_200;
const QUIET_MESSAGES = 20;

const ROOMS = { plain: 'live', stored: 'live-stored' } as const;
const SETTINGS = { rooms: [{ match: ROOMS.stored, history: { messages: 1_000 } }] };

/** Rooms whose last messages are compared with the store, one connection each. */
const QUIET_ROOMS = 10_000;

type Kind = keyof typeof ROOMS;
type Pair = Record<Kind, Measured>;

/** What rooms with history cost a gateway: its stream is in a file of one NATS server. */
export async function history(scale: Scale): Promise<Outcome> {
  const { rows, data } = await besides(scale);
  const compared = await comparing({ ...scale, rooms: Math.min(QUIET_ROOMS, scale.connections) });
  const row: Row = {
    case: 'history',
    figure: `comparing the last messages of ${compared.rooms.toLocaleString('en')} quiet rooms with the store each second, % of a core`,
    ours: round(100 * compared.share),
    target: '≤ 1',
    met: compared.share <= 0.01,
  };
  return { rows: [...rows, row], data: { frames: data, compared } };
}

/** The same messages to a room with history and to one without, of one gateway. */
async function besides({ connections, pairs, seconds, quick, progress }: Scale): Promise<Outcome> {
  // Both rooms are of one gateway.
  const each = connections / 2;
  const stack = await Stack.start(undefined, { jetstream: true });
  try {
    // The frames of both rooms have the same items, however many connections there are.
    const gateway = await stack.gateway({ ...SETTINGS, gateway: { batching: { adaptive: false } } });
    const publisher = await stack.publisher(await stack.logic(undefined, SETTINGS));
    const audiences = {
      plain: new Audience({ port: gateway.port, rate: 4_000, room: ROOMS.plain }),
      stored: new Audience({ port: gateway.port, rate: 4_000, room: ROOMS.stored }),
    };
    const kinds = ['plain', 'stored'] as const;
    for (const kind of kinds) {
      await audiences[kind].open(1);
      await publisher.push({ room: ROOMS[kind], via: 'logic', ...FIRST });
    }
    for (const kind of kinds) await audiences[kind].open(each - 1);

    const busy = async (kind: Kind) => {
      const room = ROOMS[kind];
      const pushing = publisher.push({ room, via: 'logic', rate: RATE, messages: RATE * (WARM + seconds) });
      await pause(WARM_MS);
      await audiences[kind].quiet(200);
      const run = await measured(gateway.actor.pid, audiences[kind], () => pushing);
      assertWhole(`history, ${kind}`, run);
      return run;
    };
    const quiet = (kind: Kind) =>
      measured(gateway.actor.pid, audiences[kind], () =>
        publisher.push({
          room: ROOMS[kind],
          via: 'logic',
          rate: 1_000 / QUIET_MS,
          messages: quick ? 3 : QUIET_MESSAGES,
        }),
      );
    const runs: { busy: Pair; quiet: Pair }[] = [];
    for (let pair = 1; pair <= pairs; pair++) {
      const run = {
        busy: { plain: await busy('plain'), stored: await busy('stored') },
        quiet: { plain: await quiet('plain'), stored: await quiet('stored') },
      };
      runs.push(run);
      progress(
        `pair ${pair}: ${round(run.busy.stored.frameUs)} µs a frame, without history ${round(run.busy.plain.frameUs)}; ` +
          `p99 in a quiet room ${round(run.quiet.stored.stat.latency.p99 / 1_000)} ms, without ${round(run.quiet.plain.stat.latency.p99 / 1_000)}`,
      );
    }
    const ratio = medianOf(runs, ({ busy }) => busy.stored.frameUs / busy.plain.frameUs);
    const latency = (kind: Kind, key: 'p50' | 'p99') =>
      medianOf(runs, (run) => run.quiet[kind].stat.latency[key]) / 1_000;
    const both = (kind: Kind) => `${round(latency(kind, 'p50'))} / ${round(latency(kind, 'p99'))}`;
    const later = latency('stored', 'p99') - latency('plain', 'p99');
    return {
      rows: [
        {
          case: 'history',
          figure: `CPU a frame, µs, ${each.toLocaleString('en')} connections, ${RATE} msg/s`,
          ours: round(medianOf(runs, ({ busy }) => busy.stored.frameUs)),
          reference: `without history ${round(medianOf(runs, ({ busy }) => busy.plain.frameUs))}`,
          ratio,
          target: '≤ 1.05 ×',
          met: ratio <= 1.05,
        },
        {
          case: 'history',
          figure: 'accepted → received in a quiet room, ms (p50 / p99)',
          ours: both('stored'),
          reference: `without history ${both('plain')}`,
          target: 'p99 ≤ 10 ms later',
          met: later <= 10,
        },
        clientRow(
          'history',
          runs.map(({ busy }) => busy.stored),
        ),
      ],
      data: { runs },
    };
  } finally {
    await stack.stop();
  }
}

/** CPU of a gateway while another room of the stream is pushed to, so that it asks for all last messages, less that without. */
async function comparing({
  rooms,
  pairs,
  seconds,
  progress,
}: Pick<Scale, 'pairs' | 'seconds' | 'progress'> & { rooms: number }) {
  const settings = { rooms: [{ match: 'quiet-*', history: { messages: 10 } }] };
  const stack = await Stack.start(undefined, { jetstream: true });
  try {
    const gateway = await stack.gateway(settings);
    const publisher = await stack.publisher(await stack.logic(undefined, settings));
    const audience = new Audience({ port: gateway.port, rate: 4_000, room: 'quiet', rooms });
    await audience.open(rooms);
    // Each of them has a message.
    await publisher.push({ room: 'quiet', rooms, via: 'logic', rate: 2_000, messages: rooms });
    await audience.quiet(2_000);
    const shareWhile = async (work: () => Promise<unknown>) => {
      const before = cpuOf(gateway.actor.pid);
      const began = performance.now();
      await work();
      const { user, system } = cpuBetween(before, cpuOf(gateway.actor.pid));
      return ((user + system) * 1_000) / (performance.now() - began);
    };
    const shares: number[] = [];
    for (let pair = 1; pair <= pairs; pair++) {
      const still = await shareWhile(() => pause(2_000 * seconds));
      const moving = await shareWhile(() =>
        publisher.push({ room: 'quiet-elsewhere', via: 'logic', rate: 2, messages: 4 * seconds }),
      );
      shares.push(moving - still);
      progress(
        `pair ${pair}: comparing takes ${round(100 * (moving - still))} % of a core, all else ${round(100 * still)} %`,
      );
    }
    return { rooms, share: medianOf(shares, (share) => share), shares };
  } finally {
    await stack.stop();
  }
}
