import type { IncomingMessage, ServerResponse } from 'node:http';
import { type FastifyReply, type FastifyRequest, fastify } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { Problem } from '../errors/problem.ts';
import { type AdmissionOptions, admit } from './admission.ts';
import { METHODS } from './allowedMethods.ts';
import type { App } from './app.ts';
import { validatorCompiler } from './bodyParsers.ts';
import { answerPreflight, corsHeaders, corsHeadersOfError } from './cors.ts';
import { clippedPath, type ErrorLog, respondWithError } from './errorResponse.ts';
import { httpServer } from './httpServer.ts';
import { MalformedRequests } from './malformedRequests.ts';
import { describeRoutes } from './openApi.ts';
import type { ServingCertificate } from './servingCertificate.ts';
import { cutUnread } from './unreadResponses.ts';

/** Longest parameter of a path: a name of 128 bytes, each percent-encoded. */
const MAX_PARAM_LENGTH = 3 * 128;
/** Connections beyond this are closed at once. Clients of this API are backends, which keep a few connections each. */
const MAX_CONNECTIONS = 10_000;
/** A request that takes longer to arrive is answered 408. */
const REQUEST_TIMEOUT_MS = 30_000;
/** A response of which the client takes nothing for so long is given up. */
const UNREAD_MS = 15_000;

export type ServerOptions = AdmissionOptions & {
  log: ErrorLog;
  /** Largest body in bytes. */
  bodyLimit: number;
  /** Whether each connection is to close after its next response. */
  leaving: () => boolean;
  /** Called after a connection beyond the limit was closed. */
  onConnectionRefused: () => void;
  /** Called for each connection that is closed because the client did not read its response. */
  onUnread: () => void;
  /** Milliseconds that a request may take to arrive; 30,000 by default. */
  requestTimeout?: number;
  /** Milliseconds without progress after which a response is given up; 15,000 by default. */
  unreadTimeout?: number;
  maxConnections?: number;
  /** Answers a request ahead of the routes, or returns false and leaves it to them. */
  direct?: (request: IncomingMessage, response: ServerResponse) => boolean;
  /** Serves TLS with it; plain HTTP if absent. */
  certificate?: ServingCertificate;
};

/** The HTTP server without its routes: admits requests, parses bodies and answers errors. */
export async function createServer(options: ServerOptions): Promise<App> {
  const { requestTimeout = REQUEST_TIMEOUT_MS, maxConnections = MAX_CONNECTIONS, direct = () => false } = options;
  const respond = (error: unknown, request: FastifyRequest, reply: FastifyReply) => {
    const cors = corsHeadersOfError(request, options.allowedOrigins());
    respondWithError(error, request, reply, { ...options, cors });
  };
  const malformed = new MalformedRequests({
    requestTimeout,
    headers: ({ method = '', headers }) => corsHeadersOfError({ method, headers }, options.allowedOrigins()),
  });
  const app = fastify({
    logger: false,
    bodyLimit: options.bodyLimit,
    serverFactory: (handler) =>
      httpServer(
        (request, response) => {
          if (!direct(request, response)) handler(request, response);
        },
        { requestTimeout, ...(options.certificate ? { certificate: options.certificate } : {}) },
      ),
    rewriteUrl: ({ url = '/' }) => (url.startsWith('/') ? url : url.replace(/^https?:\/\/[^/?#]*(?=\/)/i, '')),
    return503OnClosing: false,
    forceCloseConnections: 'idle',
    routerOptions: { maxParamLength: MAX_PARAM_LENGTH },
    frameworkErrors: respond,
    clientErrorHandler: (error, socket) => malformed.refuse(error, socket),
  }).withTypeProvider<ZodTypeProvider>();
  app.server.maxConnections = maxConnections;
  app.server.on('drop', options.onConnectionRefused);
  malformed.watch(app.server);
  cutUnread(app.server, options.unreadTimeout ?? UNREAD_MS, options.onUnread);
  // Node's own answer is not a problem document: `requireUnambiguous` checks what is expected.
  app.server.on('checkExpectation', (request, response) => app.server.emit('request', request, response));
  for (const method of METHODS) if (!app.supportedMethods.includes(method)) app.addHttpMethod(method);

  app.decorateRequest('rawJson', null);
  app.decorateRequest('caller', null);
  app.decorateRequest('target', 'unknown');
  app.setValidatorCompiler(validatorCompiler);
  // Responses are checked by their types. Checking them at run time would cost more than the rest of a push.
  app.setSerializerCompiler(() => (data) => JSON.stringify(data));
  app.removeAllContentTypeParsers();
  app.setErrorHandler(respond);
  app.setNotFoundHandler((request) => {
    const path = clippedPath(request.url);
    throw new Problem('not_found', `There is no route ${request.method} ${path}; /docs lists the routes.`);
  });
  app.addHook('onRequest', (request, reply, done) => {
    try {
      if (options.leaving()) reply.header('connection', 'close');
      const origin = admit(request.raw, request.originalUrl, options);
      if (origin !== undefined) reply.headers(corsHeaders(origin));
      if (origin === undefined || !answerPreflight(request, reply)) done();
    } catch (error) {
      done(error instanceof Error ? error : new Error(String(error)));
    }
  });
  await describeRoutes(app);
  return app;
}
