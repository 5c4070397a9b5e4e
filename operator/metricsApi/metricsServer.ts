import { constants, X509Certificate } from 'node:crypto';
import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { TLSSocket } from 'node:tls';
import { systemClock } from '@pushcluster/runtime/clock.ts';
import { LingeringResponse } from '@pushcluster/runtime/lingeringResponse.ts';
import { listenAddress } from '@pushcluster/runtime/listenAddress.ts';
import { isKubeError } from '../kube/errors.ts';
import { type AccessReviews, type Action, TooManyReviews } from './accessReviews.ts';
import {
  type Asked,
  askedFor,
  isMetric,
  METRICS,
  METRICS_GROUP,
  METRICS_VERSION,
  type MetricName,
  type RequestFailure,
  statusOf,
  type Value,
  valueList,
} from './api.ts';
import { bearerOf, type Caller, callerOf, type FrontProxy, isFrontProxy, NO_FRONT_PROXY } from './frontProxy.ts';
import { matches, parseSelector } from './selector.ts';

/** A pod that may have metrics. */
export type PodLabels = { uid: string; name: string; namespace: string; labels: Readonly<Record<string, string>> };

/** A source of metrics. */
export type Source = {
  /** Gateway pods of a namespace that are not terminating. */
  pods(namespace: string): Iterable<PodLabels>;
  /** The value of a metric of a pod; undefined if there is none or it is outdated. */
  value(uid: string, metric: MetricName): { value: number; at: number; windowSeconds?: number } | undefined;
};

export type MetricsServerOptions = {
  host: string;
  port: number;
  /** PEM. */
  serving: { certificate: string; key: string };
  source: Source;
  reviews: AccessReviews;
  /** Called after each response. */
  onAnswered?: (code: number, seconds: number) => void;
  /** Called with the error of a request. */
  onTrouble?: (error: unknown) => void;
};

/** Maximum number of connections. Each API server keeps only a few. */
const MAX_CONNECTIONS = 512;
const REQUEST_TIMEOUT_MS = 5_000;
/** Longer than the API server keeps an idle connection (90 s), so that the API server closes it. */
const KEEP_ALIVE_MS = 120_000;
const RETRY_SECONDS = '1';

/** Maximum length of a certificate chain. */
const MAX_CHAIN = 10;

type Answer = { code: number; body: string; type?: string };

/**
 * Serves the custom metrics API over HTTPS. Clients are the front proxy of the API server, and holders of its tokens.
 */
export class MetricsServer {
  readonly #options: MetricsServerOptions;
  readonly #server: Server;
  #serving: { certificate: string; key: string };
  #frontProxy: FrontProxy = NO_FRONT_PROXY;
  /** Common name of the verified client certificate of each connection; empty if there is none. */
  #peers = new WeakMap<TLSSocket, { by: FrontProxy; commonName: string }>();

  constructor(options: MetricsServerOptions) {
    this.#options = options;
    this.#serving = options.serving;
    this.#server = createServer(
      {
        ...this.#credentials(),
        // A client without a trusted certificate may still have a token.
        requestCert: true,
        rejectUnauthorized: false,
        ALPNProtocols: ['http/1.1'],
        headersTimeout: REQUEST_TIMEOUT_MS,
        requestTimeout: REQUEST_TIMEOUT_MS,
        handshakeTimeout: REQUEST_TIMEOUT_MS,
        keepAliveTimeout: KEEP_ALIVE_MS,
        ServerResponse: LingeringResponse,
      },
      (request, response) => void this.#serve(request, response),
    );
    this.#server.maxConnections = MAX_CONNECTIONS;
    // The trust at the time of the handshake is recorded with the connection.
    this.#server.on('secureConnection', (socket) => this.#record(socket));
    // Port scans, and clients that do not trust the CA.
    this.#server.on('tlsClientError', () => {});
  }

  /** Starts listening and returns the port. Rejects if the port is not available. */
  async listen(): Promise<number> {
    const { host, port } = this.#options;
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen({ host: listenAddress(host), port }, () => {
        this.#server.off('error', reject);
        resolve();
      });
    });
    return (this.#server.address() as AddressInfo).port;
  }

  /** Uses another serving certificate for new connections. */
  serveWith(serving: { certificate: string; key: string }): void {
    if (serving.certificate === this.#serving.certificate) return;
    this.#serving = serving;
    this.#server.setSecureContext(this.#credentials());
  }

  /** Trusts another front proxy. Existing connections have to authenticate again. */
  trust(frontProxy: FrontProxy): void {
    this.#frontProxy = frontProxy;
    this.#server.setSecureContext(this.#credentials());
    this.#server.closeIdleConnections();
  }

  close(): Promise<void> {
    return new Promise((resolve) => {
      this.#server.close(() => resolve());
      this.#server.closeAllConnections();
    });
  }

  #credentials() {
    return {
      cert: this.#serving.certificate,
      key: this.#serving.key,
      // An empty list trusts no client. Without a list, Node.js would trust public CAs.
      ca: [...this.#frontProxy.authorities],
      minVersion: 'TLSv1.2' as const,
      // A resumed TLS session would have a certificate that was verified before a change of trust.
      secureOptions: constants.SSL_OP_NO_TICKET,
    };
  }

  #record(socket: TLSSocket): void {
    const by = this.#frontProxy;
    const certificate = socket.authorized ? socket.getPeerX509Certificate() : undefined;
    // The trust may have changed during the handshake.
    const commonName = certificate && isBy(certificate, by) ? socket.getPeerCertificate().subject?.CN : undefined;
    this.#peers.set(socket, { by, commonName: typeof commonName === 'string' ? commonName : '' });
  }

  /** Whether the trust has changed since the handshake: then the connection is closed after its response. */
  #isStale({ socket }: IncomingMessage): boolean {
    return !(socket instanceof TLSSocket) || this.#peers.get(socket)?.by !== this.#frontProxy;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const began = systemClock.now();
    const {
      code,
      body,
      type = 'application/json',
    } = await this.#answer(request).catch((error: unknown): Answer => {
      const failure = failureOf(error);
      if (failure.code >= 500) this.#options.onTrouble?.(error);
      return failed(failure);
    });
    const headers: OutgoingHttpHeaders = {
      'content-type': type,
      'content-length': Buffer.byteLength(body),
      'cache-control': 'no-store',
    };
    if (code === 401) headers['www-authenticate'] = 'Bearer';
    if (code === 405) headers.allow = 'GET';
    if (code === 503) headers['retry-after'] = RETRY_SECONDS;
    // The body is read and discarded, unless it is too long.
    if (request.method !== 'GET' || this.#isStale(request)) headers.connection = 'close';
    response.writeHead(code, headers).end(body);
    this.#options.onAnswered?.(code, (systemClock.now() - began) / 1_000);
  }

  async #answer(request: IncomingMessage): Promise<Answer> {
    const url = request.url ?? '/';
    const [path = '/', query = ''] = url.split('?', 2);
    const asked = askedFor(path);
    if (request.method !== 'GET')
      return failed({ code: 405, reason: 'MethodNotAllowed', message: 'only GET is allowed' });
    if (asked.what === 'health') return { code: 200, body: 'ok', type: 'text/plain' };
    const caller = await this.#callerOf(request);
    if (caller === undefined)
      return failed({
        code: 401,
        reason: 'Unauthorized',
        message: 'Unauthorized: use the Kubernetes API server as a proxy, or a bearer token of it',
      });
    const { allowed, reason } = await this.#options.reviews.mayDo(caller, actionOf(asked, path));
    if (!allowed) return failed(forbidden(caller, asked, path, reason));
    switch (asked.what) {
      case 'document':
        return { code: 200, body: JSON.stringify(asked.document) };
      case 'values':
        return this.#values(asked, new URLSearchParams(query));
      case 'nothing':
        return failed({ code: 404, reason: 'NotFound', message: `no resource at ${path}` });
    }
  }

  async #callerOf(request: IncomingMessage): Promise<Caller | undefined> {
    const { socket } = request;
    const peer = socket instanceof TLSSocket ? this.#peers.get(socket) : undefined;
    if (peer?.by === this.#frontProxy && peer.commonName !== '' && isFrontProxy(peer.by, peer.commonName)) {
      const caller = callerOf(peer.by, request.headersDistinct);
      if (caller !== undefined) return caller;
    }
    const token = bearerOf(request.headers);
    return token === undefined ? undefined : this.#options.reviews.tokenOf(token);
  }

  #values({ namespace, name, metric }: Asked & { what: 'values' }, query: URLSearchParams): Answer {
    if (!isMetric(metric))
      return failed({
        code: 404,
        reason: 'NotFound',
        message: `unknown metric ${metric}: available metrics are ${METRICS.join(' and ')}`,
      });
    const [selector, metricSelector] = ['labelSelector', 'metricLabelSelector'].map((each) =>
      parseOr400(query.get(each) ?? ''),
    );
    if (selector === undefined || metricSelector === undefined) throw new TypeError('two selectors were read');
    const { source } = this.#options;
    const values: Value[] = [];
    // The metrics have no labels, so that a selector by their labels matches none.
    if (matches(metricSelector, {}))
      for (const pod of source.pods(namespace)) {
        if (name === '*' ? !matches(selector, pod.labels) : pod.name !== name) continue;
        const found = source.value(pod.uid, metric);
        if (found) values.push({ pod: pod.name, namespace, metric, ...found });
      }
    if (name !== '*' && values.length === 0)
      return failed({
        code: 404,
        reason: 'NotFound',
        message: `pod ${namespace}/${name} has no recent value of ${metric}`,
      });
    return { code: 200, body: JSON.stringify(valueList(values)) };
  }
}

/** Whether a CA of the front proxy has signed a certificate of the chain. */
function isBy(certificate: X509Certificate, { authorities }: FrontProxy): boolean {
  let each: X509Certificate | undefined = certificate;
  for (let depth = 0; each !== undefined && depth < MAX_CHAIN; depth++, each = each.issuerCertificate)
    for (const authority of authorities) if (each.verify(new X509Certificate(authority).publicKey)) return true;
  return false;
}

/** The request is invalid. */
class BadRequest extends Error {
  override readonly name = 'BadRequest';
}

function parseOr400(text: string) {
  try {
    return parseSelector(text);
  } catch (error) {
    throw new BadRequest(error instanceof Error ? error.message : String(error));
  }
}

function actionOf(asked: Asked, path: string): Action {
  if (asked.what !== 'values') return { verb: 'get', path };
  const { namespace, name, metric } = asked;
  const place = { namespace, group: METRICS_GROUP, version: METRICS_VERSION };
  return { verb: 'get', ...place, resource: 'pods', subresource: metric, name };
}

function forbidden(caller: Caller, asked: Asked, path: string, reason: string): RequestFailure {
  const what =
    asked.what === 'values'
      ? `get resource "pods/${asked.metric}" in API group "${METRICS_GROUP}" in the namespace "${asked.namespace}"`
      : `get path "${path}"`;
  const message = `User "${caller.name}" cannot ${what}${reason === '' ? '' : `: ${reason}`}`;
  return { code: 403, reason: 'Forbidden', message };
}

function failureOf(error: unknown): RequestFailure {
  if (error instanceof BadRequest) return { code: 400, reason: 'BadRequest', message: error.message };
  if (error instanceof TooManyReviews || isKubeError(error))
    return {
      code: 503,
      reason: 'ServiceUnavailable',
      message: `the caller cannot be authenticated or authorized at the moment: ${error.message}`,
    };
  return { code: 500, reason: 'InternalError', message: 'internal error: see the log of the operator' };
}

function failed(failure: RequestFailure): Answer {
  return { code: failure.code, body: JSON.stringify(statusOf(failure)) };
}
