import { Audience, pause } from '../audience.ts';
import { assertWhole, type Measured, measured, medianOf } from '../measure.ts';
import { type Outcome, round } from '../report.ts';
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

type Kind = keyof typeof ROOMS;
type Pair = Record<Kind, Measured>;

/** The same messages to a room with history and to one without, of one gateway: its stream is in a file of one NATS server. */
export async function history({ connections, pairs, seconds, quick, progress }: Scale): Promise<Outcome> {
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
