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
] as const;
export type FaultName = (typeof FAULTS)[number];

/** One fault: what breaks, which one of its kind, when it begins after the one before, and how long it lasts. Milliseconds. */
export type Fault = { name: FaultName; target: number; after: number; lasts: number };

/** Which faults come in a run: the same for the same seed. Each kind comes before any comes again. */
export function schedule(seed: number, count: number): Fault[] {
  const chance = new Chance(seed);
  const faults: Fault[] = [];
  let left: FaultName[] = [];
  while (faults.length < count) {
    if (left.length === 0) left = [...FAULTS];
    const name = left.splice(chance.below(left.length), 1)[0]!;
    // Some overlap with the one before.
    const after = 500 + chance.below(chance.once(3) ? 1_500 : 8_000);
    faults.push({ name, target: chance.below(6), after, lasts: 200 + chance.below(chance.once(4) ? 12_000 : 4_000) });
  }
  return faults;
}
