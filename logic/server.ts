import { METHODS as ALL_METHODS, type IncomingMessage, type Server } from 'node:http';
import type { Socket } from 'node:net';
import swagger from '@fastify/swagger';
import { clipped } from '@pushcluster/runtime/clipped.ts';
import { type FastifyReply, type FastifyRequest, fastify } from 'fastify';
import { createJsonSchemaTransform, type FastifyPluginAsyncZod, type ZodTypeProvider } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { ApiKeys, Caller } from './auth.ts';
import { validatorCompiler } from './bodies.ts';
import { BrokenRequests } from './brokenRequests.ts';
import type { TargetLabel } from './metrics.ts';
import { admitOrigin, requireLoopback, requireSingleHeaders } from './origin.ts';
import { Problem, problemOf } from './problems.ts';
import { LingeringResponse } from './response.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** The JSON text that items are cut from: the body, or the field `items` of a form. */
    rawJson: Buffer | null;
    /** Who asks; null on routes that are open to everyone who may come in. */
    caller: Caller | null;
    /** For the metrics. */
    target: TargetLabel;
  }
}

/** CONNECT is none of a path. */
const METHODS = ALL_METHODS.filter((method) => method !== 'CONNECT');
/** A name of 128 bytes, each percent-encoded. */
const MAX_PARAM_LENGTH = 3 * 128;
/** Connections of backends; more are closed at once. */
const MAX_CONNECTIONS = 10_000;
/** A request arrives whole within this time, or is answered 408. */
const REQUEST_TIMEOUT_MS = 30_000;
/** Above what balancers usually keep idle connections for, so that they close first. */
const KEEP_ALIVE_MS = 75_000;

export type ServerOptions = {
  keys: ApiKeys;
  allowedOrigins: () => readonly string[];
  log: Record<'info' | 'warn' | 'error', (fields: object, message: string) => void>;
  /** Largest body in bytes. */
  bodyLimit: number;
  /** Whether connections are to end with their next answer. */
  leaving: () => boolean;
  /** Called when a connection over the limit was closed. */
  onConnectionRefused: () => void;
  /** Milliseconds within which a request arrives whole; 30 s where absent. */
  requestTimeout?: number;
  maxConnections?: number;
};

/** fastify's instance, of a scope as well as of the whole. */
export type App = Parameters<FastifyPluginAsyncZod>[0];

/** The HTTP server without its routes: who may come in, how bodies are read, how errors are answered. */
export async function createServer(options: ServerOptions): Promise<App> {
  const { requestTimeout = REQUEST_TIMEOUT_MS, maxConnections = MAX_CONNECTIONS } = options;
  const broken = new BrokenRequests({
    requestTimeout,
    headers: (request) => corsOf(options, request.method ?? '', request.headers),
  });
  const unexpected = new WeakSet<IncomingMessage>();
  const app = fastify({
    logger: false,
    bodyLimit: options.bodyLimit,
    requestTimeout,
    http: {
      headersTimeout: requestTimeout,
      connectionsCheckingInterval: requestTimeout / 6,
      ServerResponse: LingeringResponse,
      // Node's own answer is no problem document: see `admit`.
      requireHostHeader: false,
    },
    rewriteUrl: ({ url = '/' }) => (url.startsWith('/') ? url : url.replace(/^https?:\/\/[^/?#]*(?=\/)/i, '')),
    keepAliveTimeout: KEEP_ALIVE_MS,
    return503OnClosing: false,
    forceCloseConnections: 'idle',
    routerOptions: { maxParamLength: MAX_PARAM_LENGTH },
    frameworkErrors: (error, request, reply) => refuse(options, error, request, reply),
    clientErrorHandler: (error, socket) => broken.refuse(error, socket),
  }).withTypeProvider<ZodTypeProvider>();
  app.server.maxConnections = maxConnections;
  app.server.on('drop', options.onConnectionRefused);
  broken.watch(app.server);
  app.server.on('checkExpectation', (request, response) => {
    unexpected.add(request);
    app.server.emit('request', request, response);
  });
  for (const method of METHODS) if (!app.supportedMethods.includes(method)) app.addHttpMethod(method);

  app.decorateRequest('rawJson', null);
  app.decorateRequest('caller', null);
  app.decorateRequest('target', 'unknown');
  app.setValidatorCompiler(validatorCompiler);
  // Types check what is sent; checking it again at run time would cost more than the rest of a push.
  app.setSerializerCompiler(() => (data) => JSON.stringify(data));
  app.removeAllContentTypeParsers();
  app.setErrorHandler((error, request, reply) => refuse(options, error, request, reply));
  app.setNotFoundHandler((request) => {
    throw new Problem(
      'not_found',
      `There is no ${request.method} ${pathOf(request.url)} here; /docs lists what there is.`,
    );
  });
  app.addHook('onRequest', (request, reply, done) => {
    try {
      if (options.leaving()) reply.header('connection', 'close');
      requireUnderstood(request.raw, unexpected.has(request.raw));
      if (admit(options, request, reply)) done();
    } catch (error) {
      done(error instanceof Error ? error : new Error(String(error)));
    }
  });
  await app.register(swagger, { openapi: openapiInfo, transform: schemaTransform });
  return app;
}

/** Takes `Authorization` on every route that `app` (a scope) gets after this. */
export function requireKey(app: App, keys: ApiKeys) {
  app.addHook('onRequest', (request, _reply, done) => {
    try {
      request.caller = keys.required ? keys.identify(request.headers.authorization) : LOOPBACK;
      done();
    } catch (error) {
      done(error instanceof Error ? error : new Error(String(error)));
    }
  });
}

/** Follows the connections of `server` that have not said anything yet, which node counts neither as idle nor as busy. */
export function silentConnections(server: Server): { close(): void } {
  const silent = new Set<Socket>();
  server.on('connection', (socket) => {
    silent.add(socket);
    socket.once('close', () => silent.delete(socket));
  });
  server.on('request', ({ socket }) => silent.delete(socket));
  return {
    close() {
      for (const socket of silent) if (socket.bytesRead === 0) socket.destroy();
    },
  };
}

/** Answers 405 for the methods that the routes seen by `routes` lack. Called when all are there. */
export function refuseOtherMethods(app: App, routes: ReadonlyMap<string, ReadonlySet<string>>) {
  for (const [url, methods] of routes) {
    const allow = [...methods, 'OPTIONS'].join(', ');
    app.route({
      method: METHODS.filter((method) => !methods.has(method)),
      url,
      schema: { hide: true },
      // Before a body is read, which nobody would look at.
      onRequest: (request, reply, done) => {
        if (request.method === 'OPTIONS') {
          reply.code(204).header('allow', allow).send();
          return;
        }
        done(new Problem('method_not_allowed', `${pathOf(request.url)} has ${allow}.`, { headers: { allow } }));
      },
      handler: () => undefined,
    });
  }
}

const LOOPBACK: Caller = { name: 'loopback', scope: undefined };

const schemaTransform = createJsonSchemaTransform({
  zodToJsonConfig: {
    // zod drops the examples of a schema that transforms, since they may be of what comes out; ours are of what comes in.
    override: ({ zodSchema, jsonSchema }) => {
      const examples = z.globalRegistry.get(zodSchema)?.examples;
      if (Array.isArray(examples)) jsonSchema.examples = examples;
    },
  },
});

const openapiInfo = {
  openapi: '3.1.0',
  info: {
    title: 'PushCluster push API',
    version: '1',
    description: 'Push JSON items to rooms, users or everyone, and see who is online. Errors are RFC 9457 problems.',
  },
  components: {
    securitySchemes: {
      key: {
        type: 'http',
        scheme: 'bearer',
        description: 'An API key. Not needed on loopback where none is configured.',
      },
    },
  },
} as const;

/** Throws a Problem where it can't be known what is asked for. */
function requireUnderstood({ headers, httpVersion, url = '' }: IncomingMessage, unexpected: boolean) {
  if (headers.host === undefined && httpVersion !== '1.0')
    throw new Problem('bad_request', 'Send a Host header: HTTP/1.1 needs one.');
  if (unexpected) throw new Problem('expectation_failed', 'Expect can only be 100-continue.');
  const query = url.indexOf('?');
  if (url.includes('#')) throw new Problem('bad_request', 'There is a "#" in the address: encode it as "%23".');
  if (query < 0 || !url.includes('%', query)) return;
  try {
    decodeURIComponent(url.slice(query));
  } catch {
    throw new Problem('bad_request', 'The query is not valid percent-encoded UTF-8.');
  }
}

/** Whether the request goes on. Throws a Problem where it may not; answers preflights itself. */
function admit(options: ServerOptions, request: FastifyRequest, reply: FastifyReply): boolean {
  const { headers, method } = request;
  const { rawHeaders, httpVersion } = request.raw;
  requireSingleHeaders(rawHeaders, headers);
  const { remoteAddress: peer } = request.socket;
  const approach = { method, target: request.originalUrl, version: httpVersion, peer, headers };
  if (!options.keys.required) requireLoopback(approach);
  const origin = admitOrigin(approach, options.allowedOrigins());
  if (!isIdentity(headers['content-encoding']))
    throw new Problem('unsupported_media_type', 'Send the body without Content-Encoding.');
  if (origin === undefined) return true;
  reply.headers(corsHeaders(origin));
  if (method !== 'OPTIONS' || headers['access-control-request-method'] === undefined) return true;
  reply
    .removeHeader('access-control-expose-headers')
    .header('access-control-allow-methods', 'GET, POST')
    .header('access-control-allow-headers', 'authorization, content-type')
    .header('access-control-max-age', '600');
  // A page on another network than ours, such as a public one against loopback, asks for this too.
  if (headers['access-control-request-private-network'] === 'true')
    reply.header('access-control-allow-private-network', 'true');
  reply.code(204).send();
  return false;
}

/** A list of codings (RFC 9110, 8.4) that changes nothing. */
function isIdentity(encoding: string | undefined): boolean {
  return encoding === undefined || encoding.split(',').every((coding) => /^\s*(identity)?\s*$/i.test(coding));
}

function corsHeaders(origin: string): Record<string, string> {
  return { 'access-control-allow-origin': origin, vary: 'Origin', 'access-control-expose-headers': 'retry-after' };
}

/** The CORS headers of a refusal: none where the origin is not allowed either. */
function corsOf(options: ServerOptions, method: string, headers: FastifyRequest['headers']): Record<string, string> {
  try {
    const origin = admitOrigin({ method, headers }, options.allowedOrigins());
    return origin === undefined ? {} : corsHeaders(origin);
  } catch {
    return {};
  }
}

function refuse(options: ServerOptions, error: unknown, request: FastifyRequest, reply: FastifyReply) {
  const { log } = options;
  const problem = problemOf(error, options.bodyLimit);
  const { status, code } = problem;
  const fields = {
    code,
    status,
    method: request.method,
    path: pathOf(request.url),
    peer: request.ip,
    ...(request.caller ? { caller: request.caller.name } : {}),
  };
  if (code === 'internal') log.error({ ...fields, err: error }, 'request failed');
  else {
    const level = status < 500 && status !== 401 && status !== 403 && status !== 429 ? 'info' : 'warn';
    log[level]({ ...fields, detail: problem.message }, 'request refused');
  }
  reply
    .code(status)
    .headers(corsOf(options, request.method, request.headers))
    .headers(problem.headers)
    .header('content-type', 'application/problem+json')
    .send(Buffer.from(problem.toJson()));
}

function pathOf(url: IncomingMessage['url']): string {
  return clipped((url ?? '').split('?', 1)[0]!, 200);
}
