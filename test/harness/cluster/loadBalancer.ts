import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { get } from 'node:http';
import { Agent, request } from 'node:https';
import { setTimeout } from 'node:timers/promises';

/**
 * `node loadBalancer.ts KUBECONFIG`: a load balancer for Services of type LoadBalancer, like that of a cloud. It gives
 * each Service an address and distributes new connections over the nodes whose health check reports a pod of the
 * Service. Established connections stay on their nodes. It runs outside the nodes, on the network of the clients. Needs
 * root and nft.
 */
const ADDRESSES = '10.90.0';
/** Short enough to follow the state of kube-proxy closely. Clouds check every few seconds. */
const INTERVAL_MS = 500;
const CHECK_TIMEOUT_MS = 2_000;
const KUBE_PROXY_HEALTH_PORT = 10256;

const [kubeconfig] = process.argv.slice(2);
if (kubeconfig === undefined) {
  process.stderr.write('usage: node loadBalancer.ts KUBECONFIG\n');
  process.exit(2);
}
const api = apiOf(kubeconfig);
let rules = '';
for (;;) {
  try {
    await look();
  } catch (error) {
    // The API server may be unavailable; the current rules stay in place.
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  }
  await setTimeout(INTERVAL_MS);
}

type Service = {
  metadata: { name: string; namespace: string };
  spec: {
    type: string;
    externalTrafficPolicy?: string;
    healthCheckNodePort?: number;
    ports: { port: number; nodePort: number; protocol: string }[];
  };
  status: { loadBalancer: { ingress?: { ip?: string }[] } };
};
type Node = { status: { addresses: { type: string; address: string }[] } };

async function look(): Promise<void> {
  const [{ items: services }, { items: nodes }] = await Promise.all([
    api<{ items: Service[] }>('GET', '/api/v1/services'),
    api<{ items: Node[] }>('GET', '/api/v1/nodes'),
  ]);
  const balanced = services.filter(({ spec }) => spec.type === 'LoadBalancer');
  const addresses = nodes.map(({ status }) => status.addresses.find(({ type }) => type === 'InternalIP')!.address);
  const taken = new Set(balanced.map(addressOf));
  const lines: string[] = [];
  for (const service of balanced) {
    const { spec } = service;
    const address = addressOf(service) ?? (await give(service, taken));
    const port = spec.externalTrafficPolicy === 'Local' ? spec.healthCheckNodePort! : KUBE_PROXY_HEALTH_PORT;
    const checks = await Promise.all(addresses.map((node) => isHealthy(node, port)));
    const healthy = addresses.filter((_, index) => checks[index]);
    if (healthy.length === 0) continue;
    for (const { port, nodePort, protocol } of spec.ports) {
      const targets = healthy.map((node, index) => `${index} : ${node} . ${nodePort}`).join(', ');
      lines.push(
        `ip daddr ${address} ${protocol.toLowerCase()} dport ${port} dnat ip to numgen inc mod ${healthy.length} map { ${targets} }`,
      );
    }
  }
  await enforce(lines.join('\n'));
}

function addressOf({ status }: Service): string | undefined {
  return status.loadBalancer.ingress?.[0]?.ip;
}

async function give({ metadata: { name, namespace } }: Service, taken: Set<string | undefined>): Promise<string> {
  let last = 1;
  while (taken.has(`${ADDRESSES}.${last}`)) last++;
  const ip = `${ADDRESSES}.${last}`;
  taken.add(ip);
  await api('PATCH', `/api/v1/namespaces/${namespace}/services/${name}/status`, {
    status: { loadBalancer: { ingress: [{ ip }] } },
  });
  return ip;
}

function isHealthy(node: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const asked = get({ host: node, port, path: '/healthz', timeout: CHECK_TIMEOUT_MS }, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    asked.once('timeout', () => asked.destroy()).once('error', () => resolve(false));
  });
}

/** The rules apply only to new connections: the kernel's connection tracking keeps earlier decisions. */
async function enforce(wanted: string): Promise<void> {
  if (wanted === rules) return;
  const nft = spawn('nft', ['-f', '-'], { stdio: ['pipe', 'inherit', 'inherit'] });
  const hooks = ['prerouting', 'output'].map(
    (hook) => `chain ${hook} { type nat hook ${hook} priority -100\n${wanted}\n}`,
  );
  nft.stdin.end(`table ip balancer {}\ndelete table ip balancer\ntable ip balancer {\n${hooks.join('\n')}\n}\n`);
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
