import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { z } from 'zod';
import type { PushCluster } from '../../api/pushCluster.ts';
import type { DesiredObject } from './context.ts';
import { metadataOf } from './metadata.ts';
import { names } from './names.ts';

/** The alerts of the chart. The operator's image has them at the same path. */
const FILE = new URL('../../../charts/pushcluster/rules/pushcluster.yaml', import.meta.url);
/** The texts in the file that are the line rate and the runbook. */
const [LINE_RATE, RUNBOOK] = ['* 1.25e+09', 'docs/how-to/runbook.md#'];
/** Annotations with the section of the runbook: as a URL, and as a file of this project, which a pager cannot open. */
const [URL_NAME, FILE_NAME] = ['"runbook_url":', '"runbook":'];
const BYTES_PER_GBIT = 1.25e8;
/** Placeholders for the namespace and the name of a cluster. */
const [NAMESPACE, NAME] = ['@NAMESPACE@', '@NAME@'];

const Rules = z.strictObject({
  groups: z.array(
    z.strictObject({
      name: z.string(),
      rules: z.array(
        z.strictObject({
          alert: z.string(),
          expr: z.string(),
          for: z.string().exactOptional(),
          labels: z.record(z.string(), z.string()),
          annotations: z.record(z.string(), z.string()),
        }),
      ),
    }),
  ),
});

/** A PrometheusRule of the Prometheus Operator: the fields that are used here. */
export type PrometheusRule = DesiredObject & { spec: z.infer<typeof Rules> };

/** A metric and its label matchers. Labels in `by (...)` have other prefixes. */
const SELECTOR = /\b(up|pushcluster_(?:gateway|logic|bus|operator|certificate)_\w+)\b(?:\{([^}]*)\})?/g;
/** Metrics of the operator about clusters. Its other metrics are about itself. */
const OF_CLUSTER = 'pushcluster_operator_cluster_';

let text: string | undefined;

/**
 * The alerts of the chart, restricted to this cluster. Alerts about the operator itself are left out.
 * @param defaultRunbook URL of the runbook if the cluster sets none
 */
export function alerts(cluster: PushCluster, defaultRunbook?: string): PrometheusRule[] {
  const { enabled, labels, lineRate, runbook = defaultRunbook } = cluster.spec.monitoring.rules;
  if (!enabled) return [];
  const { namespace, name } = cluster.metadata;
  const own = alertsText()
    .replaceAll(NAMESPACE, namespace)
    .replaceAll(NAME, name)
    .replaceAll(LINE_RATE, `* ${lineRate * BYTES_PER_GBIT}`)
    .replaceAll(RUNBOOK, () => (runbook === undefined ? RUNBOOK : `${runbook}#`))
    .replaceAll(URL_NAME, runbook === undefined ? FILE_NAME : URL_NAME);
  const metadata = metadataOf(cluster, names(cluster).alerts, 'alerts', { labels });
  return [
    {
      apiVersion: 'monitoring.coreos.com/v1',
      kind: 'PrometheusRule',
      metadata,
      spec: Rules.parse(JSON.parse(own)),
    },
  ];
}

/** The alerts as JSON with placeholders. One text serves all clusters, of which an operator may have hundreds. */
export function alertsText(): string {
  text ??= narrowedText();
  return text;
}

function narrowedText(): string {
  const { groups } = Rules.parse(parse(readFileSync(FILE, 'utf8')));
  return JSON.stringify({
    groups: groups.map(({ name, rules }) => ({
      name: `${name}.${NAMESPACE}.${NAME}`,
      rules: rules.filter(({ expr }) => !isOfOperator(expr)).map((rule) => ({ ...rule, expr: narrowed(rule.expr) })),
    })),
  });
}

function isOfOperator(expr: string): boolean {
  return [...expr.matchAll(SELECTOR)].some(
    ([, metric = '']) => metric.startsWith('pushcluster_operator_') && !metric.startsWith(OF_CLUSTER),
  );
}

/** The expression, restricted to one cluster. */
function narrowed(expr: string): string {
  return expr.replace(SELECTOR, (_, metric: string, matchers = '') => {
    const cluster = metric.startsWith(OF_CLUSTER)
      ? `cluster_namespace="${NAMESPACE}",cluster_name="${NAME}"`
      : `namespace="${NAMESPACE}",pushcluster_dev_cluster="${NAME}"`;
    return `${metric}{${cluster}${matchers === '' ? '' : `,${matchers}`}}`;
  });
}
