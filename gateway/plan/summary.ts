import type { Inputs, Limit, LimitName, Plan } from './model.ts';

/** A plan in words: the same lines in docs/explanation/capacity.md and in the console. */

export type Line = { name: string; value: string; note: string };

const LIMITS: Record<LimitName, { name: string; remedy: string }> = {
  packets: { name: 'Packets', remedy: 'more gateways, a longer window, or a card that sends more packets' },
  cpu: { name: 'CPU', remedy: 'more gateways, more cores for each, or a longer window' },
  hub: {
    name: 'Hub (one core)',
    remedy:
      'fewer cores for each gateway and so fewer shards to write to, a longer window, or rooms parted among clusters',
  },
  memory: { name: 'Memory', remedy: 'more gateways, or more memory for each' },
  wire: { name: 'Wire', remedy: 'more gateways, a faster line, or compression' },
  nats: { name: 'NATS', remedy: 'more servers or cores for NATS, or rooms parted among clusters' },
};

/** What the load comes to, line by line. */
export function figures(inputs: Inputs, plan: Plan): Line[] {
  const { natsServers, natsCores } = inputs;
  return [
    { name: 'Messages delivered', value: `${amount(plan.delivered)}/s`, note: '' },
    {
      name: 'Frames',
      value: `${amount(plan.frames)}/s`,
      note: `${amount(plan.itemsPerFrame)} messages in each, ${amount(plan.frameBytes)} bytes; without merging ${amount(plan.unmerged.frames)}/s`,
    },
    { name: 'On the wire', value: bits(plan.bits), note: `${amount(plan.packets)} packets a second` },
    {
      name: 'Cores of gateways',
      value: amount(plan.cores),
      note: `busy, ${amount(plan.sendCores)} of them with send() itself; without merging ${amount(plan.unmerged.cores)}`,
    },
    {
      name: 'Gateways',
      value: plan.gateways === undefined ? 'not possible' : count(plan.gateways),
      note: `of ${count(inputs.cores)} cores, at most ${inputs.fill} % full, and not over with one away`,
    },
    { name: 'People on a gateway', value: amount(plan.connections), note: '' },
    { name: 'Memory of a gateway', value: bytes(plan.memory), note: "with the kernel's" },
    {
      name: 'NATS',
      value: `${amount(plan.natsIn)}/s in, ${amount(plan.natsOut)}/s out`,
      note: `${amount(plan.natsCores)} of ${count(natsCores)} cores on each of ${count(natsServers)}`,
    },
    { name: 'Logic', value: `${count(plan.logicPods)} pods`, note: `${amount(plan.logicCores)} cores busy` },
  ];
}

/** What may give out, the fullest first. */
export function shares(plan: Plan): (Line & { used: number })[] {
  return plan.limits.map((limit) => ({
    name: LIMITS[limit.name].name,
    value: percent(limit.used),
    note: '',
    ...used(limit),
  }));
}

/** What gives out first, and by how much, as a sentence. */
export function verdict(inputs: Inputs, plan: Plan): string {
  const [first] = plan.limits;
  if (!first) return '';
  const { name, remedy } = LIMITS[first.name];
  const other = plan.gateways === undefined ? 'No number of gateways is enough. ' : '';
  if (first.used > 1) return `${other}${name} gives out: ${times(first.used)} what there is. What helps: ${remedy}.`;
  const away = `With one gateway away it is ${percent(plan.oneAway.used)} (${LIMITS[plan.oneAway.name].name}).`;
  const full =
    first.used > inputs.fill / 100 + 1e-9 ? `More than the ${inputs.fill} % that were to be in use: ${remedy}. ` : '';
  return `${name} gives out first: ${percent(first.used)} in use, so at ${times(1 / first.used)} this load. ${full}${away}`;
}

/** A number with three digits that count. */
export function amount(value: number): string {
  for (const [size, unit] of [
    [1e9, ' G'],
    [1e6, ' M'],
  ] as const)
    if (value >= 0.9995 * size) return `${digits(value / size)}${unit}`;
  return value >= 999.5 ? Math.round(value).toLocaleString('en') : digits(value);
}

export function percent(share: number): string {
  return share < 0.0005 ? 'under 0.1 %' : `${digits(share * 100)} %`;
}

function used({ used }: Limit) {
  return { used };
}

function count(value: number): string {
  return value.toLocaleString('en');
}

function bits(value: number): string {
  return value >= 1e9 ? `${digits(value / 1e9)} Gbit/s` : `${digits(value / 1e6)} Mbit/s`;
}

function bytes(value: number): string {
  return value >= 1_024 ** 3 ? `${digits(value / 1_024 ** 3)} GiB` : `${digits(value / 1_024 ** 2)} MiB`;
}

function times(value: number): string {
  return `${value >= 1_000 ? 'over a thousand' : digits(value)} times`;
}

function digits(value: number): string {
  if (value === 0) return '0';
  if (value >= 99.95) return Math.round(value).toLocaleString('en');
  if (value >= 9.995) return String(Math.round(value * 10) / 10);
  return value >= 0.0995 ? String(Math.round(value * 100) / 100) : value.toPrecision(1);
}
