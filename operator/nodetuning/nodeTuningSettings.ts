import { zodSentence } from '@pushcluster/runtime/zodSentence.ts';
import { z } from 'zod';

/** Of the kernel: INT_MAX, which is what most of these are kept in. */
const MAX_INT = 2_147_483_647;

const count = z.number().int().min(1).max(MAX_INT);
const three = (word: string, what: string) =>
  z.string().regex(new RegExp(`^${word} ${word} ${word}$`), `is ${what}, parted by single blanks`);

/**
 * What may be set on a node, and nothing else may. A key that is absent is left as the node has it.
 * Limits are raised only: a node that has more keeps it. Triples and ranges are set as they are given.
 */
const Sysctls = z.strictObject({
  'fs.nr_open': count.exactOptional(),
  'fs.file-max': z.number().int().min(1).max(Number.MAX_SAFE_INTEGER).exactOptional(),
  'net.core.netdev_max_backlog': count.exactOptional(),
  /** Pages, or shares of the node's memory: low, pressure, high. */
  'net.ipv4.tcp_mem': z
    .union([three('\\d{1,10}', 'three numbers of pages'), three('\\d{1,2}%', 'three percentages')])
    .exactOptional(),
  /** Bytes: least, initial, most. */
  'net.ipv4.tcp_wmem': three('\\d{1,10}', 'three numbers of bytes').exactOptional(),
  'net.ipv4.tcp_rmem': three('\\d{1,10}', 'three numbers of bytes').exactOptional(),
  'net.ipv4.ip_local_port_range': z
    .string()
    .regex(/^\d{1,5} \d{1,5}$/, 'is the first and the last port, parted by a blank')
    .exactOptional(),
  'net.netfilter.nf_conntrack_max': count.exactOptional(),
  /** The size of its hash table. */
  'net.netfilter.nf_conntrack_buckets': count.exactOptional(),
});
export type SysctlName = keyof z.infer<typeof Sysctls>;

/** Sysctls that are limits: what a node has above them stays. */
export const LIMITS: ReadonlySet<string> = new Set<SysctlName>([
  'fs.nr_open',
  'fs.file-max',
  'net.core.netdev_max_backlog',
  'net.netfilter.nf_conntrack_max',
  'net.netfilter.nf_conntrack_buckets',
]);

const cpus = z.string().regex(/^\d{1,4}(-\d{1,4})?(,\d{1,4}(-\d{1,4})?)*$/, 'is a list of CPUs, as 0-3,8');
const ring = z.union([z.literal('max'), z.number().int().min(1).max(1_048_576)]);

const Interface = z.strictObject({
  /** Its name, with `*` for any run of characters. */
  name: z.string().regex(/^[\w.:*-]{1,30}$/, 'is the name of an interface, with * for any run of characters'),
  /** CPUs that packets are spread over in software: a list, or those of the card's memory where it has fewer queues. */
  rps: z.union([z.literal('auto'), cpus]).exactOptional(),
  /** Each CPU sends by one queue of its own. */
  xps: z.literal('auto').exactOptional(),
  rings: z.strictObject({ rx: ring.exactOptional(), tx: ring.exactOptional() }).exactOptional(),
});
export type InterfaceSettings = z.infer<typeof Interface>;

export const NodeTuningSettings = z.strictObject({
  sysctls: Sysctls.prefault({}),
  interfaces: z.array(Interface).default([]),
});
export type NodeTuningSettings = z.infer<typeof NodeTuningSettings>;

/** Settings of their JSON. Throws a sentence for each thing that is wrong, unknown keys among them. */
export function parseSettings(text: string): NodeTuningSettings {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new Error('the settings are not JSON', { cause: error });
  }
  const found = NodeTuningSettings.safeParse(json, { reportInput: true });
  if (found.success) return found.data;
  const problems = found.error.issues.map(
    (issue) => `${issue.path.join(' ') || 'the settings'}: ${zodSentence(issue, { withInput: true })}`,
  );
  throw new Error(`the settings are wrong: ${problems.join('; ')}`);
}
