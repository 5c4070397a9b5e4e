import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { parse } from 'yaml';
import { z } from 'zod';
import { METRICS_PAGE } from '../metricsReference.ts';
import type { Kubectl } from './kubectl.ts';

const ScrapeConfig = z.looseObject({ kubernetes_sd_configs: z.array(z.looseObject({})) });
const Page = z.object({ scrape_configs: z.array(ScrapeConfig) });

const Pods = z.object({
  items: z.array(
    z.object({
      metadata: z.object({
        name: z.string(),
        namespace: z.string(),
        labels: z.record(z.string(), z.string()).default({}),
      }),
      spec: z.object({
        containers: z.array(
          z.object({
            name: z.string(),
            ports: z.array(z.object({ name: z.string().default(''), containerPort: z.number() })).default([]),
          }),
        ),
      }),
      status: z.object({ podIP: z.string().default('') }),
    }),
  ),
});

/**
 * Plays Prometheus' Kubernetes discovery of pods for one that was built without it, as Debian's is: answers by HTTP what
 * the API server has, with the labels that `kubernetes_sd_configs` of role `pod` gives.
 */
export class PodDiscovery {
  readonly #server: Server;

  static async start(kubectl: Kubectl): Promise<PodDiscovery> {
    const server = createServer((_request, response) => {
      targets(kubectl).then(
        (found) => response.setHeader('content-type', 'application/json').end(JSON.stringify(found)),
        (error: unknown) => response.writeHead(500).end(String(error)),
      );
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return new PodDiscovery(server);
  }

  constructor(server: Server) {
    this.#server = server;
  }

  /** In place of `kubernetes_sd_configs` in a scrape configuration. */
  get configs(): object[] {
    const address = this.#server.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    return [{ url: `http://127.0.0.1:${port}/`, refresh_interval: '2s' }];
  }

  /** The scrape configuration of docs/metrics.md, with this discovery in it. */
  documented(): object[] {
    const [, text = ''] = /```yaml\n(scrape_configs:.*?)```/s.exec(readFileSync(METRICS_PAGE, 'utf8')) ?? [];
    return Page.parse(parse(text)).scrape_configs.map(({ kubernetes_sd_configs, ...rest }) => {
      assert.deepEqual(kubernetes_sd_configs, [{ role: 'pod' }]);
      return { ...rest, http_sd_configs: this.configs };
    });
  }

  stop(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}

async function targets(kubectl: Kubectl): Promise<object[]> {
  const { items } = Pods.parse(JSON.parse(await kubectl(['get', 'pods', '-A', '-o', 'json'])));
  return items
    .filter(({ status }) => status.podIP !== '')
    .flatMap(({ metadata, spec, status }) =>
      spec.containers.flatMap(({ name, ports }) =>
        ports.map((port) => ({
          targets: [`${status.podIP}:${port.containerPort}`],
          labels: {
            __meta_kubernetes_namespace: metadata.namespace,
            __meta_kubernetes_pod_name: metadata.name,
            __meta_kubernetes_pod_container_name: name,
            __meta_kubernetes_pod_container_port_name: port.name,
            ...Object.fromEntries(
              Object.entries(metadata.labels).map(([label, value]) => [
                `__meta_kubernetes_pod_label_${label.replace(/[^a-zA-Z0-9_]/g, '_')}`,
                value,
              ]),
            ),
          },
        })),
      ),
    );
}
