import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { PodStatus } from '@pushcluster/protocol/podStatus.ts';
import { collectDefaultMetrics, type Registry } from 'prom-client';
import { LingeringResponse } from './lingeringResponse.ts';
import { listenAddress } from './listenAddress.ts';
import { listenProblem } from './portProbe.ts';

/** Timeouts of a probe and of a scrape: below the defaults of Kubernetes (1 s) and Prometheus (10 s). */
const PROBE_TIMEOUT_MS = 900;
const COLLECT_TIMEOUT_MS = 2_000;

/** Sampling interval of the event loop's delay. The default of prom-client, 10 ms, would keep an idle process busy. */
const LOOP_PRECISION_MS = 1_000;

export type AdminOptions = {
  host: string;
  port: number;
  registry: Registry;
  /** Updates the metrics before each scrape. If it fails or takes too long, they are served as they are. */
  collect?: () => Promise<void>;
  /** What is broken, a sentence each. Empty: healthy. */
  health: () => Promise<string[]> | string[];
  /** Why the process should get no traffic, a sentence each. Empty: ready. */
  ready: () => Promise<string[]> | string[];
  /** The answer to `GET /status`. Without it that path does not exist. */
  status?: () => PodStatus;
  /** Called with an error inside a scrape. */
  onProblem?: (error: Error) => void;
};

export type Admin = { port: number; close(): Promise<void> };

/**
 * Serves GET /metrics, /healthz, /readyz and, if given, /status. Adds the default metrics of the process to the registry.
 * @throws Error with a sentence if it cannot listen on the port
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
      ServerResponse: LingeringResponse,
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
    server.listen({ host: listenAddress(host), port, exclusive: true }, () => {
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
  if (path === undefined || !paths.includes(path))
    return { status: 404, body: `not found; available paths: ${paths.join(', ')}\n` };
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
  // The body is read and discarded, unless it is too long.
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
