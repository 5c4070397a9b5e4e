import { parseJson } from '@pushcluster/protocol/parseJson.ts';
import { zodSentence } from '@pushcluster/runtime/zodSentence.ts';
import { z } from 'zod';

/** INT_MAX: the kernel stores most of these settings in an int. */
const MAX_INT = 2_147_483_647;

const count = z.number().int().min(1).max(MAX_INT);
const three = (word: string, what: string) =>
  z.string().regex(new RegExp(`^${word} ${word} ${word}$`), `must be ${what}, separated by single spaces`);

/**
 * The sysctls that may be set. The node keeps its value of a missing key. Limits are only raised: a node with a higher
 * value keeps it. Triples and ranges are set as they are.
 */
const Sysctls = z.strictObject({
  'fs.nr_open': count.exactOptional(),
  'fs.file-max': z.number().int().min(1).max(Number.MAX_SAFE_INTEGER).exactOptional(),
  'net.core.netdev_max_backlog': count.exactOptional(),
  /** Low, pressure and high, in pages or as shares of the node's memory. */
  'net.ipv4.tcp_mem': z
    .union([three('\\d{1,10}', 'three numbers of pages'), three('\\d{1,2}%', 'three percentages')])
    .exactOptional(),
  /** Minimum, initial and maximum, in bytes. */
  'net.ipv4.tcp_wmem': three('\\d{1,10}', 'three numbers of bytes').exactOptional(),
  'net.ipv4.tcp_rmem': three('\\d{1,10}', 'three numbers of bytes').exactOptional(),
  'net.ipv4.ip_local_port_range': z
    .string()
    .regex(/^\d{1,5} \d{1,5}$/, 'must be the first and the last port, separated by a space')
    .exactOptional(),
  'net.netfilter.nf_conntrack_max': count.exactOptional(),
  /** Size of the hash table of conntrack. */
  'net.netfilter.nf_conntrack_buckets': count.exactOptional(),
});
export type SysctlName = keyof z.infer<typeof Sysctls>;

/** Sysctls that are limits: a node with a higher value keeps it. */
export const LIMITS: ReadonlySet<string> = new Set<SysctlName>([
  'fs.nr_open',
  'fs.file-max',
  'net.core.netdev_max_backlog',
  'net.netfilter.nf_conntrack_max',
  'net.netfilter.nf_conntrack_buckets',
]);

const cpus = z.string().regex(/^\d{1,4}(-\d{1,4})?(,\d{1,4}(-\d{1,4})?)*$/, 'must be a list of CPUs such as 0-3,8');
const ring = z.union([z.literal('max'), z.number().int().min(1).max(1_048_576)]);

const Interface = z.strictObject({
  /** Name of the interface. `*` matches any characters. */
  name: z.string().regex(/^[\w.:*-]{1,30}$/, 'must be the name of an interface, with * for any characters'),
  /**
   * Receive packet steering over a list of CPUs; `auto`: those of its NUMA node if there are more of them than queues.
   */
  rps: z.union([z.literal('auto'), cpus]).exactOptional(),
  /** Transmit packet steering: CPUs are distributed over the transmit queues. */
  xps: z.literal('auto').exactOptional(),
  rings: z.strictObject({ rx: ring.exactOptional(), tx: ring.exactOptional() }).exactOptional(),
});
export type InterfaceSettings = z.infer<typeof Interface>;

export const NodeTuningSettings = z.strictObject({
  sysctls: Sysctls.prefault({}),
  interfaces: z.array(Interface).default([]),
});
export type NodeTuningSettings = z.infer<typeof NodeTuningSettings>;

/** Parses settings in JSON. @throws Error with one sentence for each problem; unknown keys are problems */
export function parseNodeTuningSettings(text: string): NodeTuningSettings {
  const json = parseJson(text);
  if (json === undefined) throw new Error('the settings are not valid JSON');
  const found = NodeTuningSettings.safeParse(json, { reportInput: true });
  if (found.success) return found.data;
  const problems = found.error.issues.map(
    (issue) => `${issue.path.join(' ') || 'the settings'}: ${zodSentence(issue, { withInput: true })}`,
  );
  throw new Error(`the settings are invalid: ${problems.join('; ')}`);
}
