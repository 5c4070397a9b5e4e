import { z } from 'zod';
import { fraction, ruled } from '../fields.ts';
import { labelValue, marks } from './metadata.ts';

export const Monitoring = z.object({
  serviceMonitor: z
    .boolean()
    .default(true)
    .describe('Makes a ServiceMonitor, where the cluster knows that kind (Prometheus operator).'),
  rules: z
    .object({
      enabled: z
        .boolean()
        .default(false)
        .describe(
          "Makes a PrometheusRule with this cluster's alerts. Only where the chart's `monitoring.rules` is off: both would fire.",
        ),
      labels: marks('monitoring.rules.labels', labelValue).describe('Labels that Prometheus chooses its rules by.'),
      lineRate: fraction('monitoring.rules.lineRate', { min: 0.1, max: 1_000 })
        .default(10)
        .describe("Of the nodes' cards, Gbit/s."),
      // Prometheus takes what is in braces for a template.
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
        .describe('URL of the runbook, where alerts are to name one in place of `docs/how-to/runbook.md`.'),
    })
    .prefault({})
    .describe('Alerts for Prometheus.'),
  dashboards: z
    .object({
      enabled: z
        .boolean()
        .default(false)
        .describe(
          "Makes a ConfigMap for each of the dashboards, with this cluster chosen. Only where the chart's `monitoring.dashboards` is off.",
        ),
      labels: marks('monitoring.dashboards.labels', labelValue).describe(
        'Labels that Grafana finds dashboards by, beside `grafana_dashboard: "1"`, whose value they may change.',
      ),
      annotations: marks('monitoring.dashboards.annotations', z.string()).describe(
        'Annotations such as `grafana_folder: Live`.',
      ),
    })
    .prefault({})
    .describe('Dashboards for Grafana.'),
});
