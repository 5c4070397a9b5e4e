import { z } from 'zod';
import { fraction, ruled } from '../fields.ts';
import { labelValue, marks } from './metadata.ts';

export const Monitoring = z.object({
  serviceMonitor: z
    .boolean()
    .default(true)
    .describe(
      'Whether the operator creates a ServiceMonitor. Ignored if the Kubernetes cluster does not have that kind (Prometheus Operator).',
    ),
  rules: z
    .object({
      enabled: z
        .boolean()
        .default(false)
        .describe(
          "Whether the operator creates a PrometheusRule with the alerts of this PushCluster. Disable the chart's `monitoring.rules` in that case; otherwise both fire.",
        ),
      labels: marks('monitoring.rules.labels', labelValue).describe(
        'Labels added to the PrometheusRule, for example those that Prometheus selects rules by.',
      ),
      lineRate: fraction('monitoring.rules.lineRate', { min: 0.1, max: 1_000 })
        .default(10)
        .describe(
          "Bandwidth of the nodes' network interfaces, in Gbit/s. The alert about bandwidth fires at a share of it.",
        ),
      // Prometheus interprets braces in annotations as templates.
      runbook: ruled(
        z
          .string()
          .max(2_048)
          .regex(/^[^\s{}"\\]+$/),
        {
          rule: "isURL(self) && url(self).getScheme() in ['http', 'https']",
          message: 'monitoring.rules.runbook must be a URL such as https://runbooks.example.com/pushcluster',
        },
      )
        .exactOptional()
        .describe(
          'URL of the runbook that the alerts link to. Defaults to that of the operator (`monitoring.rules.runbook` of the chart). Without either, alerts have no link, and name the section of `docs/how-to/runbook.md`.',
        ),
    })
    .prefault({})
    .describe('Alerts for Prometheus, restricted to this PushCluster.'),
  dashboards: z
    .object({
      enabled: z
        .boolean()
        .default(false)
        .describe(
          "Whether the operator creates a ConfigMap for each dashboard, with this PushCluster selected. Disable the chart's `monitoring.dashboards` in that case.",
        ),
      labels: marks('monitoring.dashboards.labels', labelValue).describe(
        'Labels added to the ConfigMaps. `grafana_dashboard: "1"` is set by default and may be overridden here.',
      ),
      annotations: marks('monitoring.dashboards.annotations', z.string()).describe(
        'Annotations added to the ConfigMaps, such as `grafana_folder: Live`.',
      ),
    })
    .prefault({})
    .describe('Dashboards for Grafana, restricted to this PushCluster.'),
});
