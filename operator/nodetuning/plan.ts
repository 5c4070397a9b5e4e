import { bitmapOf, cpuNumbers, hexOf } from './cpus.ts';
import { type Host, NotApplicable } from './host.ts';
import { type InterfaceSettings, LIMITS, type NodeTuningSettings } from './nodeTuningSettings.ts';

/** A setting to change. `wanted` returns the new value for the original one; the same value means no change. */
export type Planned = { name: string; wanted: (own: string) => string };
export type Skipped = { name: string; reason: string };
export type Plan = { planned: Planned[]; skipped: Skipped[] };

/** Page size of amd64 and most arm64 kernels. With larger pages, shares of the memory become larger too. */
const PAGE = 4_096;

/** The settings to change on this node: resolves interfaces, and reports settings that the node does not have. */
export async function plan({ sysctls, interfaces }: NodeTuningSettings, host: Host): Promise<Plan> {
  const all: Plan = { planned: [], skipped: [] };
  const pages = Math.floor(host.memory / PAGE);
  // Sorted: the size of the conntrack table is raised before the number of its entries.
  const names = Object.keys(sysctls).sort();
  for (const name of names) {
    const value = String(Reflect.get(sysctls, name));
    all.planned.push({ name, wanted: LIMITS.has(name) ? (own) => higher(own, value) : () => inPages(value, pages) });
  }
  if (interfaces.length === 0) return all;
  let devices: string[];
  try {
    devices = (await host.devices()).filter((device) => device !== 'lo');
  } catch (error) {
    if (!(error instanceof NotApplicable)) throw error;
    for (const { name } of interfaces) all.skipped.push({ name, reason: error.message });
    return all;
  }
  const seen = new Set<string>();
  for (const settings of interfaces) {
    const matching = devices.filter((device) => matches(settings.name, device) && !seen.has(device));
    if (matching.length === 0)
      all.skipped.push({ name: settings.name, reason: 'the node does not have this interface' });
    // Only the first entry that matches an interface applies to it.
    for (const device of matching) {
      seen.add(device);
      const one = await ofInterface(device, settings, host);
      all.planned.push(...one.planned);
      all.skipped.push(...one.skipped);
    }
  }
  return all;
}

async function ofInterface(device: string, { rps, xps, rings = {} }: InterfaceSettings, host: Host): Promise<Plan> {
  const found: Plan = { planned: [], skipped: [] };
  const attempt = async (name: string, work: () => Promise<Planned[]>): Promise<void> => {
    try {
      found.planned.push(...(await work()));
    } catch (error) {
      if (!(error instanceof NotApplicable)) throw error;
      found.skipped.push({ name, reason: error.message });
    }
  };
  if (rps !== undefined) await attempt(`${device} rps`, () => receiving(device, rps, host));
  if (xps !== undefined) await attempt(`${device} xps`, () => sending(device, host));
  for (const direction of ['rx', 'tx'] as const) {
    const size = rings[direction];
    if (size === undefined) continue;
    const name = `${device} ${direction} ring`;
    await attempt(name, async () => {
      const { most } = await host.ring(device, direction);
      return [{ name, wanted: () => String(size === 'max' ? most : Math.min(size, most)) }];
    });
  }
  return found;
}

/** Receive packet steering: the CPUs that process packets of each receive queue. */
async function receiving(device: string, rps: string, host: Host): Promise<Planned[]> {
  const queues = await host.queues(device, 'rx');
  if (queues.length === 0) throw new NotApplicable(`${device} has no queues`);
  const near = cpuNumbers(rps === 'auto' ? await host.cpusNear(device) : rps);
  const running = new Set(cpuNumbers(await host.cpus()));
  const cpus = near.filter((cpu) => running.has(cpu));
  if (rps === 'auto') {
    if (!(await host.isCard(device)))
      throw new NotApplicable(`${device} is virtual: its packets are processed on the CPU that sent them`);
    if (queues.length >= cpus.length)
      throw new NotApplicable(
        `${device} already has a queue for each CPU (${queues.length} queues, ${cpus.length} CPUs)`,
      );
  }
  if (cpus.length === 0) throw new NotApplicable(`none of the CPUs ${rps} is online`);
  const mask = hexOf(bitmapOf(cpus));
  return queues.map((queue) => ({ name: `${device} ${queue} rps_cpus`, wanted: () => mask }));
}

/** Transmit packet steering: the CPUs that use each transmit queue. Values set by the driver are kept. */
async function sending(device: string, host: Host): Promise<Planned[]> {
  const queues = await host.queues(device, 'tx');
  if (queues.length < 2) throw new NotApplicable(`${device} has only one transmit queue`);
  const cpus = cpuNumbers(await host.cpus());
  return queues.map((queue, index) => {
    const mask = hexOf(bitmapOf(cpus.filter((_, at) => at % queues.length === index)));
    return { name: `${device} ${queue} xps_cpus`, wanted: (own: string) => (own === '0' ? mask : own) };
  });
}

function matches(pattern: string, name: string): boolean {
  const source = pattern
    .split('*')
    .map((part) => part.replace(/[.]/g, '\\.'))
    .join('.*');
  return new RegExp(`^${source}$`).test(name);
}

/** The larger number. The kernel's default of fs.file-max is 2^63 - 1, which a double cannot represent. */
function higher(own: string, value: string): string {
  return BigInt(own) >= BigInt(value) ? own : value;
}

function inPages(value: string, pages: number): string {
  return value.replace(/(\d+)%/g, (_, share: string) => String(Math.floor((pages * Number(share)) / 100)));
}
