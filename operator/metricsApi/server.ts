import { constants, X509Certificate } from 'node:crypto';
import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { TLSSocket } from 'node:tls';
import { isKubeError } from '../kube/errors.ts';
import { type Action, type Reviews, TooManyReviews } from './accessReviews.ts';
import {
  type Asked,
  askedFor,
  isMetric,
  METRICS,
  METRICS_GROUP,
  METRICS_VERSION,
  type MetricName,
  type Refusal,
  statusOf,
  type Value,
  valueList,
} from './api.ts';
import { bearerOf, type Caller, callerOf, type FrontProxy, mayVouch, NO_FRONT_PROXY } from './frontProxy.ts';
import { matches, parseSelector } from './selector.ts';

/** A pod that may have a value. */
export type PodLabels = { uid: string; name: string; namespace: string; labels: Readonly<Record<string, string>> };

/** Where values come from. */
export type Source = {
  /** Gateway pods of a namespace that are not about to end. */
  pods(namespace: string): Iterable<PodLabels>;
  /** The value of a pod's metric; undefined where there is none that is young enough. */
  value(uid: string, metric: MetricName): { value: number; at: number; windowSeconds?: number } | undefined;
};

export type MetricsServerOptions = {
  host: string;
  port: number;
  /** PEM. */
  serving: { certificate: string; key: string };
  source: Source;
  reviews: Reviews;
  /** Called after each answer. */
  onAnswered?: (code: number, seconds: number) => void;
  /** Called with what went wrong on the way to an answer. */
  onTrouble?: (error: unknown) => void;
};

/** API servers keep a few connections each; what strangers open beyond that is refused. */
const MAX_CONNECTIONS = 512;
const REQUEST_TIMEOUT_MS = 5_000;
/** Longer than the API server keeps an idle one (90 s): it is the one to close. */
const KEEP_ALIVE_MS = 120_000;
const RETRY_SECONDS = '1';

/** Certificates from a client's own up to an authority. */
const MAX_CHAIN = 10;

type Answer = { code: number; body: string; type?: string };

/** Serves the custom metrics API over HTTPS to whoever the API server vouches for, and to bearers of its tokens. */
export class MetricsServer {
  readonly #options: MetricsServerOptions;
  readonly #server: Server;
  #serving: { certificate: string; key: string };
  #frontProxy: FrontProxy = NO_FRONT_PROXY;
  /** Common names that verified client certificates have, by connection: empty where there is none. */
  #vouching = new WeakMap<TLSSocket, { by: FrontProxy; commonName: string }>();

  constructor(options: MetricsServerOptions) {
    this.#options = options;
    this.#serving = options.serving;
    this.#server = createServer(
      {
        ...this.#credentials(),
        // Who shows no certificate, or another one, may still have a token.
        requestCert: true,
        rejectUnauthorized: false,
        ALPNProtocols: ['http/1.1'],
        headersTimeout: REQUEST_TIMEOUT_MS,
        requestTimeout: REQUEST_TIMEOUT_MS,
        handshakeTimeout: REQUEST_TIMEOUT_MS,
        keepAliveTimeout: KEEP_ALIVE_MS,
      },
      (request, response) => void this.#serve(request, response),
    );
    this.#server.maxConnections = MAX_CONNECTIONS;
    // What is trusted at a handshake is what is trusted then.
    this.#server.on('secureConnection', (socket) => this.#meet(socket));
    // Port scans and clients that trust another authority: nothing of ours is wrong.
    this.#server.on('tlsClientError', () => {});
  }

  /** Listens; returns its port. Rejects where it can't be had. */
  async listen(): Promise<number> {
    const { host, port } = this.#options;
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen({ host, port }, () => {
        this.#server.off('error', reject);
        resolve();
      });
    });
    return (this.#server.address() as AddressInfo).port;
  }

  /** Serves with another certificate from the next connection on. */
  serveWith(serving: { certificate: string; key: string }): void {
    if (serving.certificate === this.#serving.certificate) return;
    this.#serving = serving;
    this.#server.setSecureContext(this.#credentials());
  }

  /** Believes another front proxy from now on: those that were believed before have to show themselves again. */
  believe(frontProxy: FrontProxy): void {
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
      // An empty list trusts nobody; none at all would trust the public authorities.
      ca: [...this.#frontProxy.authorities],
      minVersion: 'TLSv1.2' as const,
      // A resumed session would bring a certificate that was verified before a change.
      secureOptions: constants.SSL_OP_NO_TICKET,
    };
  }

  #meet(socket: TLSSocket): void {
    const by = this.#frontProxy;
    const certificate = socket.authorized ? socket.getPeerX509Certificate() : undefined;
    // A handshake may have begun under another trust than it ended.
    const commonName = certificate && isBy(certificate, by) ? socket.getPeerCertificate().subject?.CN : undefined;
    this.#vouching.set(socket, { by, commonName: typeof commonName === 'string' ? commonName : '' });
  }

  /** Whether a connection was made under another trust: then it ends with the answer that is under way. */
  #isStale({ socket }: IncomingMessage): boolean {
    return !(socket instanceof TLSSocket) || this.#vouching.get(socket)?.by !== this.#frontProxy;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const began = performance.now();
    const {
      code,
      body,
      type = 'application/json',
    } = await this.#answer(request).catch((error: unknown): Answer => {
      const refusal = refusalOf(error);
      if (refusal.code >= 500) this.#options.onTrouble?.(error);
      return refused(refusal);
    });
    const headers: OutgoingHttpHeaders = {
      'content-type': type,
      'content-length': Buffer.byteLength(body),
      'cache-control': 'no-store',
    };
    if (code === 401) headers['www-authenticate'] = 'Bearer';
    if (code === 405) headers.allow = 'GET';
    if (code === 503) headers['retry-after'] = RETRY_SECONDS;
    // A body that nobody asked for is not waited for.
    if (request.method !== 'GET' || this.#isStale(request)) headers.connection = 'close';
    response.writeHead(code, headers).end(body);
    this.#options.onAnswered?.(code, (performance.now() - began) / 1_000);
  }

  async #answer(request: IncomingMessage): Promise<Answer> {
    const url = request.url ?? '/';
    const [path = '/', query = ''] = url.split('?', 2);
    const asked = askedFor(path);
    if (request.method !== 'GET')
      return refused({ code: 405, reason: 'MethodNotAllowed', message: 'this API is read with GET only' });
    if (asked.what === 'health') return { code: 200, body: 'ok', type: 'text/plain' };
    const caller = await this.#callerOf(request);
    if (caller === undefined)
      return refused({
        code: 401,
        reason: 'Unauthorized',
        message: 'Unauthorized: ask by way of the Kubernetes API server, or with a bearer token of it',
      });
    const { allowed, reason } = await this.#options.reviews.mayDo(caller, actionOf(asked, path));
    if (!allowed) return refused(forbidden(caller, asked, path, reason));
    switch (asked.what) {
      case 'document':
        return { code: 200, body: JSON.stringify(asked.document) };
      case 'values':
        return this.#values(asked, new URLSearchParams(query));
      case 'nothing':
        return refused({ code: 404, reason: 'NotFound', message: `there is nothing at ${path}` });
    }
  }

  async #callerOf(request: IncomingMessage): Promise<Caller | undefined> {
    const { socket } = request;
    const vouching = socket instanceof TLSSocket ? this.#vouching.get(socket) : undefined;
    if (vouching?.by === this.#frontProxy && vouching.commonName !== '' && mayVouch(vouching.by, vouching.commonName)) {
      const caller = callerOf(vouching.by, request.headersDistinct);
      if (caller !== undefined) return caller;
    }
    const token = bearerOf(request.headers);
    return token === undefined ? undefined : this.#options.reviews.tokenOf(token);
  }

  #values({ namespace, name, metric }: Asked & { what: 'values' }, query: URLSearchParams): Answer {
    if (!isMetric(metric))
      return refused({
        code: 404,
        reason: 'NotFound',
        message: `pods have no metric ${metric} here: there are ${METRICS.join(' and ')}`,
      });
    const [selector, metricSelector] = ['labelSelector', 'metricLabelSelector'].map((each) =>
      parseOr400(query.get(each) ?? ''),
    );
    if (selector === undefined || metricSelector === undefined) throw new TypeError('two selectors were read');
    const { source } = this.#options;
    const values: Value[] = [];
    // The metrics have no labels of their own: whoever asks for some gets none.
    if (matches(metricSelector, {}))
      for (const pod of source.pods(namespace)) {
        if (name === '*' ? !matches(selector, pod.labels) : pod.name !== name) continue;
        const found = source.value(pod.uid, metric);
        if (found) values.push({ pod: pod.name, namespace, metric, ...found });
      }
    if (name !== '*' && values.length === 0)
      return refused({
        code: 404,
        reason: 'NotFound',
        message: `pod ${namespace}/${name} has no value of ${metric} that is young enough to be told`,
      });
    return { code: 200, body: JSON.stringify(valueList(values)) };
  }
}

/** Whether an authority of the front proxy has signed a verified certificate, or one above it. */
function isBy(certificate: X509Certificate, { authorities }: FrontProxy): boolean {
  let each: X509Certificate | undefined = certificate;
  for (let depth = 0; each !== undefined && depth < MAX_CHAIN; depth++, each = each.issuerCertificate)
    for (const authority of authorities) if (each.verify(new X509Certificate(authority).publicKey)) return true;
  return false;
}

/** The request itself is wrong. */
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

function forbidden(caller: Caller, asked: Asked, path: string, reason: string): Refusal {
  const what =
    asked.what === 'values'
      ? `get resource "pods/${asked.metric}" in API group "${METRICS_GROUP}" in the namespace "${asked.namespace}"`
      : `get path "${path}"`;
  const message = `User "${caller.name}" cannot ${what}${reason === '' ? '' : `: ${reason}`}`;
  return { code: 403, reason: 'Forbidden', message };
}

function refusalOf(error: unknown): Refusal {
  if (error instanceof BadRequest) return { code: 400, reason: 'BadRequest', message: error.message };
  if (error instanceof TooManyReviews || isKubeError(error))
    return {
      code: 503,
      reason: 'ServiceUnavailable',
      message: `who is asking can't be told at the moment: ${error.message}`,
    };
  return { code: 500, reason: 'InternalError', message: 'the answer could not be made: the operator has logged why' };
}

function refused(refusal: Refusal): Answer {
  return { code: refusal.code, body: JSON.stringify(statusOf(refusal)) };
}
