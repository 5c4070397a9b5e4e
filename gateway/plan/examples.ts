import type { Inputs } from './model.ts';

/** The worked examples of docs/explanation/capacity.md and of the console's /plan. */

export type Example = { id: string; title: string; inputs: Inputs };

/** Nodes with 8 cores, 10 Gbit/s and 2 million packets per second; three NATS servers with 4 cores each. */
export const DEFAULTS: Inputs = {
  people: 1_000_000,
  rooms: 1,
  rate: 10,
  itemBytes: 100,
  window: 1,
  compression: false,
  cores: 8,
  line: 10,
  memory: 32,
  packets: 2_000_000,
  natsServers: 3,
  natsCores: 4,
  fill: 60,
};

export const EXAMPLES: readonly Example[] = [
  { id: 'million', title: 'A million in one room', inputs: DEFAULTS },
  {
    id: 'ten-million',
    title: 'Ten million in 10,000 rooms',
    inputs: { ...DEFAULTS, people: 10_000_000, rooms: 10_000, rate: 1, cores: 4 },
  },
  {
    id: 'ten-million-busy',
    title: 'Ten million in 10,000 rooms with ten times the messages',
    inputs: { ...DEFAULTS, people: 10_000_000, rooms: 10_000, rate: 10, cores: 4 },
  },
  {
    id: 'tenth',
    title: 'One of ten clusters: a million in 1,000 rooms',
    inputs: { ...DEFAULTS, rooms: 1_000, rate: 10, cores: 4 },
  },
];
