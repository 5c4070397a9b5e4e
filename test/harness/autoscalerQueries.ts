import { readFileSync } from 'node:fs';
import { PushCluster } from '@pushcluster/operator/api/pushCluster.ts';
import { autoscalers } from '@pushcluster/operator/pushcluster/desired/autoscalers.ts';
import { parse } from 'yaml';
import { z } from 'zod';

const RULES = new URL('../../charts/pushcluster/files/prometheus-adapter-rules.yaml', import.meta.url);
const Rules = z.object({
  rules: z.array(z.object({ seriesQuery: z.string(), name: z.object({ as: z.string() }), metricsQuery: z.string() })),
});

/** The queries that prometheus-adapter makes by the chart's rules: one series for each gateway pod of a cluster. */
export function adapterQueries({ namespace, name }: { namespace: string; name: string }): Map<string, string> {
  const { rules } = Rules.parse(parse(readFileSync(RULES, 'utf8')));
  const matchers = `namespace="${namespace}",pod=~"${name}-gateway-.+"`;
  return new Map(
    rules.map(({ seriesQuery, name, metricsQuery }) => [
      name.as,
      metricsQuery
        .replaceAll('<<.Series>>', seriesQuery.replace(/\{.*$/, ''))
        .replaceAll('<<.LabelMatchers>>', matchers)
        .replaceAll('<<.GroupBy>>', 'pod'),
    ]),
  );
}

/** The queries that KEDA makes for the ScaledObject of a cluster. */
export function kedaQueries({ namespace, name }: { namespace: string; name: string }): string[] {
  const keda = { prometheus: 'http://prometheus:9090' };
  const autoscaling = { maxReplicas: 9, targetConnections: 1, targetBytesPerSecond: 1, keda };
  const cluster = PushCluster.parse({ metadata: { name, namespace, uid: '' }, spec: { gateway: { autoscaling } } });
  return autoscalers(cluster).flatMap((made) =>
    'spec' in made && made.spec && 'triggers' in made.spec
      ? made.spec.triggers.flatMap(({ metadata: { query } }) => query ?? [])
      : [],
  );
}
