import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { Agent, request } from 'node:https';
import { setTimeout } from 'node:timers/promises';
import { addressPlan } from './addressPlan.ts';
import { type BalancedService, healthCheckOf, isSlow, Nodes, Services, sendsProxyHeader } from './balancedService.ts';
import { accepts, answersOk, NodeHealth } from './healthCheck.ts';
import { ProxyingListener } from './proxyingListener.ts';

/**
 * `node loadBalancer.ts KUBECONFIG FAMILY`: a load balancer for Services of type LoadBalancer, like that of a cloud. It gives
 * each Service an address and distributes new connections, one by one, over all nodes that its health checks hold for
 * healthy. Established connections stay on their nodes. It runs outside the nodes, on the network of the clients. Needs
 * root and nft.
 *
 * By default it checks often and follows the first result, so that it is close to the state of kube-proxy. Annotations of
 * a Service make it as slow as those of clouds, or let it end clients' connections: see `balancedService.ts`.
 */
/** Interval of reading the Services, and of looking whether a check is due, milliseconds. */
const LOOK_MS = 500;
const CHECK_TIMEOUT_MS = 2_000;
const KUBE_PROXY_HEALTH_PORT = 10256;

const [kubeconfig, family] = process.argv.slice(2);
if (kubeconfig === undefined) {
  process.stderr.write('usage: node loadBalancer.ts KUBECONFIG [IPv4|IPv6]\n');
  process.exit(2);
}
const plan = addressPlan(family);
/** The family, as nft calls it. */
const ip = plan.family === 'IPv6' ? 'ip6' : 'ip';
const api = apiOf(kubeconfig);
/** The health of each node for each Service, by the uid of the Service and the address of the node. */
const healths = new Map<string, NodeHealth>();
/** By the uid of the Service and the port. */
const listeners = new Map<string, ProxyingListener>();
let rules = '';
for (;;) {
  try {
    await look();
  } catch (error) {
    // The API server may be unavailable; the current rules stay in place.
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  }
  await setTimeout(LOOK_MS);
}

async function look(): Promise<void> {
  const [services, nodes] = await Promise.all([
    api<unknown>('GET', '/api/v1/services').then((list) => Services.parse(list).items),
    api<unknown>('GET', '/api/v1/nodes').then((list) => Nodes.parse(list).items),
  ]);
  const balanced = services.filter(({ spec }) => spec.type === 'LoadBalancer');
  const addresses = nodes.map(({ status }) => status.addresses.find(({ type }) => type === 'InternalIP')!.address);
  const taken = new Set(balanced.map(addressOf));
  const known = new Set<string>();
  const lines: string[] = [];
  for (const service of balanced) {
    const { metadata, spec } = service;
    const address = addressOf(service) ?? (await give(service, taken));
    const healthy = await healthyOf(service, addresses, known);
    for (const { port, nodePort, protocol } of spec.ports) {
      const to = `${ip} daddr ${address} ${protocol.toLowerCase()} dport ${port}`;
      if (sendsProxyHeader(service)) {
        const key = `${metadata.uid} ${port}`;
        known.add(key);
        const listener = listeners.get(key) ?? (await ProxyingListener.start({ address, port }, plan.any));
        listeners.set(key, listener);
        listener.targets = healthy.map((host) => ({ host, port: nodePort }));
        lines.push(`${to} redirect to :${listener.port}`);
      } else if (healthy.length === 0) lines.push(`${to} drop`);
      else {
        const targets = healthy.map((node, index) => `${index} : ${node} . ${nodePort}`).join(', ');
        lines.push(`${to} dnat ${ip} to numgen inc mod ${healthy.length} map { ${targets} }`);
      }
    }
  }
  for (const key of healths.keys()) if (!known.has(key)) healths.delete(key);
  for (const [key, listener] of listeners) {
    if (known.has(key)) continue;
    listener.stop();
    listeners.delete(key);
  }
  await enforce(lines.join('\n'));
}

/** The nodes that are healthy for a Service, after the checks that are due. Adds their keys to `known`. */
async function healthyOf(
  service: BalancedService,
  nodes: readonly string[],
  known: Set<string>,
): Promise<readonly string[]> {
  const check = healthCheckOf(service);
  const checked = nodes.map(async (node) => {
    const key = `${service.metadata.uid} ${node}`;
    known.add(key);
    const health = healths.get(key) ?? new NodeHealth();
    healths.set(key, health);
    if (!health.isDue(performance.now(), check)) return health.isHealthy;
    const before = health.isHealthy;
    health.checked(await passes(service, node), check);
    if (health.isHealthy !== before)
      process.stdout.write(
        `${new Date().toISOString()} ${service.metadata.namespace}: ${node} is ${health.isHealthy ? '' : 'un'}healthy\n`,
      );
    return health.isHealthy;
  });
  const results = await Promise.all(checked);
  return nodes.filter((_, index) => results[index]);
}

function passes(service: BalancedService, node: string): Promise<boolean> {
  const { externalTrafficPolicy, healthCheckNodePort, ports } = service.spec;
  if (externalTrafficPolicy === 'Local') return answersOk(node, healthCheckNodePort!, CHECK_TIMEOUT_MS);
  if (isSlow(service)) return accepts(node, ports[0]!.nodePort, CHECK_TIMEOUT_MS);
  return answersOk(node, KUBE_PROXY_HEALTH_PORT, CHECK_TIMEOUT_MS);
}

function addressOf({ status }: BalancedService): string | undefined {
  return status.loadBalancer.ingress?.[0]?.ip;
}

async function give(
  { metadata: { name, namespace } }: BalancedService,
  taken: Set<string | undefined>,
): Promise<string> {
  let index = 0;
  while (taken.has(plan.balancedService(index))) index++;
  const address = plan.balancedService(index);
  taken.add(address);
  await api('PATCH', `/api/v1/namespaces/${namespace}/services/${name}/status`, {
    status: { loadBalancer: { ingress: [{ ip: address }] } },
  });
  return address;
}

/** The rules apply only to new connections: the kernel's connection tracking keeps earlier decisions. */
async function enforce(wanted: string): Promise<void> {
  if (wanted === rules) return;
  const nft = spawn('nft', ['-f', '-'], { stdio: ['pipe', 'inherit', 'inherit'] });
  const hooks = ['prerouting', 'output'].map(
    (hook) => `chain ${hook} { type nat hook ${hook} priority -100\n${wanted}\n}`,
  );
  nft.stdin.end(
    `table ${ip} balancer {}\ndelete table ${ip} balancer\ntable ${ip} balancer {\n${hooks.join('\n')}\n}\n`,
  );
  const code = await new Promise((resolve, reject) => nft.once('close', resolve).once('error', reject));
  if (code !== 0) throw new Error(`nft refused these rules:\n${wanted}`);
  rules = wanted;
}

function apiOf(file: string) {
  const config = JSON.parse(readFileSync(file, 'utf8'));
  const { server, 'certificate-authority-data': ca } = config.clusters[0].cluster;
  const { 'client-certificate-data': cert, 'client-key-data': key } = config.users[0].user;
  const decoded = (data: string) => Buffer.from(data, 'base64');
  const agent = new Agent({ keepAlive: true, ca: decoded(ca), cert: decoded(cert), key: decoded(key) });
  return <T>(method: string, path: string, body?: object): Promise<T> =>
    new Promise((resolve, reject) => {
      const headers = { 'content-type': 'application/merge-patch+json', 'user-agent': 'load-balancer' };
      const asked = request(`${server}${path}`, { agent, method, headers, timeout: 5_000 }, (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (part: string) => {
          text += part;
        });
        response.once('end', () => {
          if (response.statusCode === 200) resolve(JSON.parse(text));
          else reject(new Error(`${method} ${path}: ${response.statusCode} ${text}`));
        });
      });
      asked.once('timeout', () => asked.destroy(new Error(`no answer to ${method} ${path}`)));
      asked.once('error', reject).end(body && JSON.stringify(body));
    });
}
