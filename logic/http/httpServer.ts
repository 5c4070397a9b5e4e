import { createServer as createHttpServer, type RequestListener, type Server } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { LingeringResponse } from '@pushcluster/runtime/lingeringResponse.ts';
import type { ServingCertificate } from './servingCertificate.ts';

/** Longer than load balancers usually keep idle connections, so that they close first: the reverse loses requests. */
const KEEP_ALIVE_MS = 75_000;
/** A TLS handshake that takes longer is cut. */
const HANDSHAKE_MS = 10_000;

export type HttpServerOptions = {
  /** Milliseconds that a request may take to arrive. */
  requestTimeout: number;
  /** Serves TLS with it; plain HTTP if absent. */
  certificate?: ServingCertificate;
};

/** An HTTP/1.1 server, which shows each new certificate to the handshakes that follow. */
export function httpServer(handler: RequestListener, { requestTimeout, certificate }: HttpServerOptions): Server {
  const options = {
    requestTimeout,
    headersTimeout: requestTimeout,
    connectionsCheckingInterval: requestTimeout / 6,
    keepAliveTimeout: KEEP_ALIVE_MS,
    ServerResponse: LingeringResponse,
    // Node's own response is not a problem document: `requireUnambiguous` checks the Host.
    requireHostHeader: false,
  };
  if (!certificate) return createHttpServer(options, handler);
  const server = createHttpsServer({ ...options, ...certificate.pair, handshakeTimeout: HANDSHAKE_MS }, handler);
  // Node takes a failed handshake for a malformed request. There is nobody to answer.
  server.removeAllListeners('tlsClientError').on('tlsClientError', (_error, socket) => socket.destroy());
  certificate.onChange((pair) => server.setSecureContext(pair));
  return server;
}
