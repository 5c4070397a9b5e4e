import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { PodStatus } from '@pushcluster/protocol/podStatus.ts';
import { collectDefaultMetrics, type Registry } from 'prom-client';
import { listenProblem } from './portProbe.ts';

/** Longest time that a probe or a scrape waits for its answers, below the one second and ten that Kubernetes and Prometheus usually wait. */
const PROBE_TIMEOUT_MS = 900;
const COLLECT_TIMEOUT_MS = 2_000;

/** What the event loop's delay histogram wakes up for, instead of prom-client's 10 ms: an idle process stays idle. */
const LOOP_PRECISION_MS = 1_000;

export type AdminOptions = {
  host: string;
  port: number;
  registry: Registry;
  /** Brings the metrics up to date before each scrape. Where it fails or takes too long, they are served as they are. */
  collect?: () => Promise<void>;
  /** What is broken, a sentence each; empty: healthy. */
  health: () => Promise<string[]> | string[];
  /** Why no traffic should come, a sentence each; empty: ready. */
  ready: () => Promise<string[]> | string[];
  /** What `GET /status` answers; without it there is no such path. */
  status?: () => PodStatus;
  /** Called with what went wrong inside a scrape. */
  onProblem?: (error: Error) => void;
};

export type Admin = { port: number; close(): Promise<void> };

/**
 * Serves GET /metrics, /healthz, /readyz and, where there is one, /status; adds the process's default metrics to the registry.
 * @throws Error with a sentence where the port can't be had
 */
export async function startAdmin(options: AdminOptions): Promise<Admin> {
  const { host, port, registry } = options;
  if (registry.getSingleMetric('process_cpu_seconds_total') === undefined)
    collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: LOOP_PRECISION_MS });
  const server = createServer(
    {
      headersTimeout: 3_000,
      requestTimeout: 3_000,
      connectionsCheckingInterval: 3_000,
      keepAliveTimeout: 65_000,
      maxHeaderSize: 8_192,
    },
    (request, response) => {
      answer(options, request).then(
        (result) => send(request, response, result),
        (error: unknown) => send(request, response, { status: 500, body: `${message(error)}\n` }),
      );
    },
  );
  server.maxConnections = 256;
  await new Promise<void>((resolve, reject) => {
    const remedy = 'set admin.port (with make run: ADMIN_PORT) to another';
    const refuse = (error: Error): void =>
      reject(new Error(listenProblem(error, host, port, 'admin', remedy), { cause: error }));
    server.once('error', refuse);
    server.listen({ host, port, exclusive: true }, () => {
      server.off('error', refuse);
      resolve();
    });
  });
  const address = server.address();
  return {
    port: typeof address === 'object' && address !== null ? address.port : port,
    close: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

type Result = { status: number; body: string; type?: string; allow?: string };

async function answer(options: AdminOptions, request: IncomingMessage): Promise<Result> {
  const path = (request.url ?? '/').split('?', 1)[0];
  const { status } = options;
  const paths = ['/metrics', '/healthz', '/readyz', ...(status ? ['/status'] : [])];
  if (path === undefined || !paths.includes(path)) return { status: 404, body: `here are ${paths.join(', ')}\n` };
  if (request.method !== 'GET' && request.method !== 'HEAD')
    return { status: 405, body: 'GET only\n', allow: 'GET, HEAD' };
  if (path === '/metrics') return scrape(options);
  if (path === '/status' && status)
    return { status: 200, body: `${JSON.stringify(status())}\n`, type: 'application/json' };
  const problems = await probe(path === '/healthz' ? options.health : options.ready);
  return problems.length === 0 ? { status: 200, body: 'ok\n' } : { status: 503, body: `${problems.join('\n')}\n` };
}

async function scrape({ registry, collect, onProblem }: AdminOptions): Promise<Result> {
  try {
    if (collect) await within(COLLECT_TIMEOUT_MS, collect(), 'collecting the metrics');
  } catch (error) {
    onProblem?.(error instanceof Error ? error : new Error(String(error)));
  }
  return { status: 200, body: await registry.metrics(), type: registry.contentType };
}

async function probe(ask: () => Promise<string[]> | string[]): Promise<string[]> {
  try {
    return await within(PROBE_TIMEOUT_MS, ask(), 'the check');
  } catch (error) {
    return [message(error)];
  }
}

async function within<T>(milliseconds: number, work: Promise<T> | T, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} took longer than ${milliseconds} ms`)), milliseconds);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

function send(request: IncomingMessage, response: ServerResponse, { status, body, type, allow }: Result): void {
  // A body that nobody reads would be taken for the next request on this connection.
  if (request.method !== 'GET' && request.method !== 'HEAD') response.setHeader('connection', 'close');
  if (allow !== undefined) response.setHeader('allow', allow);
  response.writeHead(status, {
    'content-type': type ?? 'text/plain; charset=utf-8',
    'content-length': Buffer.byteLength(body),
    'cache-control': 'no-store',
  });
  response.end(request.method === 'HEAD' ? undefined : body);
}

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
