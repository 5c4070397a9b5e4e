import { z } from 'zod';
import { Chance } from '../harness/chance.ts';

/** What can break. */
export const FAULTS = [
  'kill a hub',
  'stop a hub',
  'kill a shard',
  'stop a shard',
  'kill logic',
  'stop logic',
  'kill a NATS server',
  'stop a NATS server',
  'kill the leader of the stream',
  'stop the leader of the stream',
  'restart a NATS server by lame duck',
  'kill two NATS servers',
  'cut the network between a gateway and NATS',
  'cut the network between logic and NATS',
  'cut the network between clients and a gateway',
  'reset the connections of clients of a gateway',
  'drain a gateway',
  'cut the network between a gateway and NATS one way',
  'cut the network between logic and NATS one way',
  'cut the network between clients and a gateway one way',
  'slow down the network of a gateway',
  'slow down the network of logic',
  'step the clock of a gateway',
  'step the clock of logic',
  'change settings and policies',
  'fill the disk of NATS',
  'delete the stream',
  'set the stream back to a backup',
] as const;
export type FaultName = (typeof FAULTS)[number];

const Fault = z.object({
  name: z.enum(FAULTS),
  /** Which one of its kind breaks. */
  target: z.number(),
  /** When it begins, and how long it lasts: milliseconds. */
  at: z.number(),
  lasts: z.number(),
});
export type Fault = z.infer<typeof Fault>;
/** Faults in order, and the seed of the clients that meet them. */
export const Schedule = z.object({ seed: z.number(), faults: z.array(Fault) });

/** Which faults come in a run: the same for the same seed. Each kind comes before any comes again. */
export function schedule(seed: number, count: number): Fault[] {
  const chance = new Chance(seed);
  const faults: Fault[] = [];
  let left: FaultName[] = [];
  let at = 0;
  while (faults.length < count) {
    if (left.length === 0) left = [...FAULTS];
    const name = left.splice(chance.below(left.length), 1)[0]!;
    // Some overlap with the one before.
    at += 500 + chance.below(chance.once(3) ? 1_500 : 8_000);
    faults.push({ name, target: chance.below(6), at, lasts: 200 + chance.below(chance.once(4) ? 12_000 : 4_000) });
  }
  return faults;
}
