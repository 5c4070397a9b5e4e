import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';
import { type Prometheus, startPrometheus } from '../prometheus.ts';
import { goProgram } from './goProgram.ts';
import { writeAccountsKubeconfig } from './kubeconfig.ts';
import { apply, type Kubectl } from './kubectl.ts';

/** The page with the scrape configuration and the rights under test. */
const MONITORING_PAGE = join(import.meta.dirname, '../../../docs/how-to/monitor.md');
/** Replaces the namespace and the ClusterRole of docs/how-to/monitor.md, because a cluster may already have those. */
const NAMESPACE = 'pushcluster-e2e-scraping';
const ACCOUNT = 'prometheus';
const DOCUMENTED = { namespace: 'monitoring', role: 'pushcluster-scraping' };

const ScrapeConfig = z.looseObject({ kubernetes_sd_configs: z.array(z.looseObject({ role: z.string() })) });
const Page = z.object({ scrape_configs: z.array(ScrapeConfig) });
const Review = z.object({ status: z.object({ allowed: z.boolean() }) });

/**
 * Prometheus as docs/how-to/monitor.md describes it for clusters without the Prometheus operator: with the page's
 * scrape configuration, and as a ServiceAccount with the page's rights. Prometheus runs outside the cluster, so its
 * configuration also gets the address of the API server; nothing else differs. Stop it before the cluster closes.
 */
export async function startDiscoveringPrometheus(
  kubectl: Kubectl,
  options: { rules?: string; interval: number },
): Promise<Prometheus> {
  const program = await goProgram('prometheus');
  const folder = await mkdtemp(join(tmpdir(), 'pushcluster-scraping-'));
  try {
    await makeAccount(kubectl);
    const account = { kubectl, namespace: NAMESPACE, account: ACCOUNT };
    const kubeconfig = await writeAccountsKubeconfig(join(folder, 'kubeconfig'), account);
    const prometheus = await startPrometheus({ ...options, program, scrapeConfigs: documented(kubeconfig) });
    prometheus.onStop(() => clean(kubectl, folder));
    return prometheus;
  } catch (error) {
    await clean(kubectl, folder);
    throw error;
  }
}

/**
 * Whether the documented ServiceAccount may do this in every namespace.
 * @param resource such as `pods`
 */
export async function scraperMay(kubectl: Kubectl, verb: string, resource: string, group = ''): Promise<boolean> {
  const review = {
    apiVersion: 'authorization.k8s.io/v1',
    kind: 'SubjectAccessReview',
    spec: {
      user: `system:serviceaccount:${NAMESPACE}:${ACCOUNT}`,
      resourceAttributes: { verb, resource, group },
    },
  };
  return Review.parse(JSON.parse(await kubectl(['create', '-f', '-', '-o', 'json'], JSON.stringify(review)))).status
    .allowed;
}

function block(begin: string): string {
  const page = readFileSync(MONITORING_PAGE, 'utf8');
  const found = page.split('```yaml\n').find((text) => text.startsWith(begin));
  assert.ok(found, `${MONITORING_PAGE} has a block of YAML that begins with ${begin}`);
  return found.slice(0, found.indexOf('```'));
}

/**
 * The scrape configuration of the page.
 * @param kubeconfig file with the address of the API server and a user
 */
function documented(kubeconfig: string): object[] {
  return Page.parse(parse(block('scrape_configs:'))).scrape_configs.map(({ kubernetes_sd_configs, ...rest }) => ({
    ...rest,
    kubernetes_sd_configs: kubernetes_sd_configs.map((config) => ({ ...config, kubeconfig_file: kubeconfig })),
  }));
}

/** Creates the documented objects. */
async function makeAccount(kubectl: Kubectl): Promise<void> {
  await apply(kubectl, [{ apiVersion: 'v1', kind: 'Namespace', metadata: { name: NAMESPACE } }]);
  const objects = block('apiVersion: v1\nkind: ServiceAccount\n');
  await apply(kubectl, objects.replaceAll(DOCUMENTED.namespace, NAMESPACE).replaceAll(DOCUMENTED.role, NAMESPACE));
}

async function clean(kubectl: Kubectl, folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true });
  await kubectl(['delete', `clusterrole/${NAMESPACE}`, `clusterrolebinding/${NAMESPACE}`, '--ignore-not-found']);
  await kubectl(['delete', `namespace/${NAMESPACE}`, '--ignore-not-found']);
}
