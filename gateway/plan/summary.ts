import type { Inputs, Limit, LimitName, Plan } from './model.ts';

/** A plan in words: the same lines in docs/explanation/capacity.md and in the console. */

export type Line = { name: string; value: string; note: string };

const LIMITS: Record<LimitName, { name: string; remedy: string }> = {
  packets: { name: 'Packet rate', remedy: 'add gateways, lengthen the merge window, or use faster network interfaces' },
  cpu: { name: 'CPU', remedy: 'add gateways or cores, or lengthen the merge window' },
  hub: {
    name: 'Hub (one core)',
    remedy:
      'give each gateway fewer cores (fewer shards to write to), lengthen the merge window, or split the rooms between clusters',
  },
  memory: { name: 'Memory', remedy: 'add gateways or memory' },
  wire: { name: 'Bandwidth', remedy: 'add gateways, use faster links, or turn on compression' },
  nats: { name: 'NATS', remedy: 'add NATS servers or cores, or split the rooms between clusters' },
};

/** The resources that the load needs, line by line. */
export function figures(inputs: Inputs, plan: Plan): Line[] {
  const { natsServers, natsCores } = inputs;
  return [
    { name: 'Messages delivered', value: `${amount(plan.delivered)}/s`, note: '' },
    {
      name: 'Frames',
      value: `${amount(plan.frames)}/s`,
      note: `${amount(plan.itemsPerFrame)} messages and ${amount(plan.frameBytes)} bytes per frame; without merging ${amount(plan.unmerged.frames)}/s`,
    },
    { name: 'Bandwidth', value: bits(plan.bits), note: `${amount(plan.packets)} packets/s` },
    {
      name: 'Gateway cores',
      value: amount(plan.cores),
      note: `in use, ${amount(plan.sendCores)} of them by send(); without merging ${amount(plan.unmerged.cores)}`,
    },
    {
      name: 'Gateways',
      value: plan.gateways === undefined ? 'not possible' : count(plan.gateways),
      note: `with ${count(inputs.cores)} cores each, at most ${inputs.fill} % utilized, and not overloaded with one gateway down`,
    },
    { name: 'People per gateway', value: amount(plan.connections), note: '' },
    { name: 'Memory per gateway', value: bytes(plan.memory), note: 'including the kernel' },
    {
      name: 'NATS',
      value: `${amount(plan.natsIn)}/s in, ${amount(plan.natsOut)}/s out`,
      note: `${amount(plan.natsCores)} of ${count(natsCores)} cores in use on each of ${count(natsServers)} servers`,
    },
    { name: 'Logic', value: `${count(plan.logicPods)} pods`, note: `${amount(plan.logicCores)} cores in use` },
  ];
}

/** The utilization of each limit, the highest first. */
export function shares(plan: Plan): (Line & { used: number })[] {
  return plan.limits.map((limit) => ({
    name: LIMITS[limit.name].name,
    value: percent(limit.used),
    note: '',
    ...used(limit),
  }));
}

/** Which limit saturates first, at what load, and what helps. */
export function verdict(inputs: Inputs, plan: Plan): string {
  const [first] = plan.limits;
  if (!first) return '';
  const { name, remedy } = LIMITS[first.name];
  const impossible = plan.gateways === undefined ? 'No number of gateways is enough. ' : '';
  if (first.used > 1)
    return `${impossible}${name} is overloaded: the load is ${times(first.used)} the capacity. To fix this, ${remedy}.`;
  const away = `With one gateway down, the highest utilization is ${percent(plan.oneAway.used)} (${LIMITS[plan.oneAway.name].name}).`;
  const full = first.used > inputs.fill / 100 + 1e-9 ? `This is above the target of ${inputs.fill} %: ${remedy}. ` : '';
  return `${name} saturates first, at ${times(1 / first.used)} this load: its utilization is ${percent(first.used)}. ${full}${away}`;
}

/** A number with three significant digits. */
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
