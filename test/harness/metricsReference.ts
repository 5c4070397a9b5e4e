import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** The text of /metrics of one process of each role. */
export type Exported = { gateway: string; logic: string; operator: string };
type Role = keyof Exported;

type Metric = { name: string; type: string; help: string; labels: readonly string[] };

export const METRICS_PAGE = join(import.meta.dirname, '../../docs/reference/metrics.md');
const BEGIN = '<!-- What follows is made by: node test/metricsReference.ts -->';
const TITLES: Record<string, string> = {
  'gateway,logic,operator': 'All processes',
  gateway: 'Gateway',
  'gateway,logic': 'Gateway and logic',
  logic: 'Logic',
  operator: 'Operator',
};

/** The project's own metrics in an exposition text, with their descriptions. Metrics of Node.js are left out. */
export function metricsOf(text: string): Metric[] {
  const metrics = new Map<string, { type: string; help: string; labels: Set<string> }>();
  for (const line of text.split('\n')) {
    const [, word, name = '', rest = ''] = /^# (HELP|TYPE) (pushcluster_\w+) (.*)$/.exec(line) ?? [];
    const known = metrics.get(name) ?? { type: '', help: '', labels: new Set<string>() };
    if (word === 'HELP') metrics.set(name, { ...known, help: rest });
    if (word === 'TYPE') metrics.set(name, { ...known, type: rest });
    const [, sample = '', labels = ''] = /^(pushcluster_\w+)\{(.*)\} \S+$/.exec(line) ?? [];
    const owner = metrics.get(sample) ?? metrics.get(sample.replace(/_(bucket|sum|count)$/, ''));
    for (const [, label = ''] of labels.matchAll(/(\w+)="/g)) if (label !== 'le') owner?.labels.add(label);
  }
  return [...metrics].map(([name, { labels, ...rest }]) => ({ name, ...rest, labels: [...labels] }));
}

/** The generated part of docs/reference/metrics.md. */
export function metricsReference(exported: Exported): string {
  const roles = new Map<string, { metric: Metric; roles: Role[] }>();
  for (const role of ['gateway', 'logic', 'operator'] as const)
    for (const metric of metricsOf(exported[role])) {
      const known = roles.get(metric.name);
      if (known) {
        known.roles.push(role);
        // One process may have no series of it.
        known.metric = { ...metric, labels: [...new Set([...known.metric.labels, ...metric.labels])] };
      } else roles.set(metric.name, { metric, roles: [role] });
    }
  const sections = Object.entries(TITLES).map(([key, title]) => {
    const rows = [...roles.values()]
      .filter(({ roles }) => roles.join() === key)
      .map(({ metric }) => metric)
      .sort((a, b) => (a.name < b.name ? -1 : 1))
      .map(({ name, type, labels, help }) => {
        const of = labels.map((label) => `\`${label}\``).join(', ');
        return `| \`${name}\` | ${type} | ${of} | ${help.replaceAll('|', '\\|')} |`;
      });
    return [`## ${title}`, '', '| metric | type | labels | meaning |', '| --- | --- | --- | --- |', ...rows].join('\n');
  });
  return `${sections.join('\n\n')}\n`;
}

/** The page as checked in, and as generated. */
export function metricsPage(exported: Exported): { is: string; should: string } {
  const is = readFileSync(METRICS_PAGE, 'utf8');
  const end = is.indexOf(BEGIN);
  if (end < 0) throw new Error(`${METRICS_PAGE} has no line ${BEGIN}`);
  return { is, should: `${is.slice(0, end)}${BEGIN}\n\n${metricsReference(exported)}` };
}

/** Names of the project's metrics that a query uses. Series of a histogram count as the histogram. */
export function metricsUsed(expr: string): string[] {
  const names = [...expr.matchAll(/\b(pushcluster_\w+)\b/g)].map(([, name = '']) => name);
  // A label with the same prefix.
  return [...new Set(names)].filter((name) => name !== 'pushcluster_dev_cluster');
}
