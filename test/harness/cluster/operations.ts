import type { Chance } from '../chance.ts';

/** What a platform team does to a PushCluster in a month, and how often. */
export const MONTH = {
  'roll gateways out': 12,
  'roll logic out': 8,
  'scale gateways': 20,
  'scale logic': 10,
  'change settings': 50,
  'drain a node': 5,
  'upgrade NATS one by one': 3,
} as const;
export type Operation = keyof typeof MONTH;

/**
 * `count` operations in the proportions of a month and in random order. Each kind comes at least once where `count` allows
 * it, the rarest first.
 */
export function operations(chance: Chance, count: number): Operation[] {
  const kinds = Object.keys(MONTH) as Operation[];
  const all = kinds.reduce((sum, kind) => sum + MONTH[kind], 0);
  const rarest = kinds.toSorted((a, b) => MONTH[a] - MONTH[b]);
  const chosen = rarest.slice(0, count);
  for (const kind of rarest) {
    const share = Math.round((MONTH[kind] * count) / all);
    for (let i = 1; i < share && chosen.length < count; i++) chosen.push(kind);
  }
  while (chosen.length < count) chosen.push('change settings');
  return shuffled(chance, chosen);
}

function shuffled<T>(chance: Chance, list: readonly T[]): T[] {
  const left = [...list];
  return list.map(() => left.splice(chance.below(left.length), 1)[0]!);
}
