import { AsyncLocalStorage } from 'node:async_hooks';
import { subscribe } from 'node:diagnostics_channel';
import { Socket } from 'node:net';
import type { NatsSettings } from '@pushcluster/protocol/settings.ts';
import { AuthorizationError, type ConnectionOptions, type NatsConnection, UserAuthenticationExpiredError } from 'nats';
import type { z } from 'zod';
import { type Credentials, describeCredentials } from './credentials.ts';
import { connect } from './transport.ts';

type Settings = z.infer<typeof NatsSettings>;

/** A server of the settings, taken apart. */
export type Server = { url: string; host: string; port: number; tls: boolean };

/** Milliseconds for one attempt: TCP, TLS and authentication. Short, for behind a healed cut the next attempt gets through sooner than a late SYN. */
const CONNECT_TIMEOUT_MS = 3_000;

/** nats-server's own default. */
const DEFAULT_PORT = 4222;

/**
 * The sockets that an attempt opened. nats.js lets go of a socket of an attempt that timed out without closing it, and
 * closes one in use so that the kernel still sends what it holds: both are ended here instead.
 */
type Attempt = { sockets: Socket[]; dialling: boolean; given: boolean };
const attempts = new AsyncLocalStorage<Attempt>();

function noteSocket(message: unknown): void {
  const attempt = attempts.getStore();
  if (!attempt?.dialling || typeof message !== 'object' || message === null || !('socket' in message)) return;
  if (!(message.socket instanceof Socket)) return;
  if (attempt.given) message.socket.destroy();
  else attempt.sockets.push(message.socket);
}
subscribe('net.client.socket', noteSocket);

/** Reads `nats://host:port`, `tls://host:port` or `host:port`. Throws a sentence where it is none. */
export function parseServer(url: string): Server {
  const complain = (problem: string) =>
    new Error(`bus.nats.servers: "${url}" ${problem}: write nats://host:port or tls://host:port`);
  const [, scheme = 'nats', rest = ''] = /^(?:([a-z]+):\/\/)?(.+)$/i.exec(url.trim()) ?? [];
  if (scheme !== 'nats' && scheme !== 'tls') throw complain(`has the scheme ${scheme}`);
  if (rest.includes('@'))
    throw new Error(`bus.nats.servers: credentials don't belong in an address: use bus.nats.user and passwordFile`);
  let parsed: URL;
  try {
    parsed = new URL(`nats://${rest}`);
  } catch {
    throw complain('is not an address');
  }
  if (parsed.hostname === '' || !['', '/'].includes(parsed.pathname) || parsed.search !== '' || parsed.hash !== '')
    throw complain('is not an address');
  const port = parsed.port === '' ? DEFAULT_PORT : Number(parsed.port);
  const host = parsed.hostname.replace(/^\[|\]$/g, '');
  return { url: `${scheme}://${parsed.hostname}:${port}`, host, port, tls: scheme === 'tls' };
}

/** A connection, and how to end it so that nothing of it is sent later. */
export type Line = { connection: NatsConnection; cut(): void };

/**
 * Connects to `server` once. Rejects with a sentence that says why not, after CONNECT_TIMEOUT_MS at the latest, and at
 * once when `signal` aborts.
 */
export async function dial(
  server: Server,
  settings: Settings,
  options: { name: string; signal: AbortSignal; credentials: Credentials },
): Promise<Line> {
  const { authenticator, tls } = options.credentials;
  options.signal.throwIfAborted();
  const connectionOptions: ConnectionOptions = {
    servers: [server.url.replace(/^tls:/, 'nats:')],
    name: options.name,
    authenticator,
    reconnect: false,
    // The settings' list is what counts: what a cluster tells of itself may not be reachable from here.
    ignoreClusterUpdates: true,
    pingInterval: settings.pingInterval,
    maxPingOut: 2,
    noAsyncTraces: true,
    // Later than ours: nats.js would leave its socket open.
    timeout: CONNECT_TIMEOUT_MS * 2,
  };
  if (tls !== undefined || server.tls) {
    // Without `host` a certificate of an IP address would be checked against the name localhost.
    const withHost = { ...tls, host: server.host };
    connectionOptions.tls = withHost;
  }
  // Whoever closes in the same turn has no socket made for it: one that is ended before it connects would connect nevertheless.
  await Promise.resolve();
  options.signal.throwIfAborted();
  const attempt: Attempt = { sockets: [], dialling: true, given: false };
  const cut = () => {
    attempt.given = true;
    for (const socket of attempt.sockets) reset(socket);
  };
  const connecting = attempts.run(attempt, () => connect(connectionOptions));
  // One that comes through after we gave it up.
  connecting.then(
    (connection) => {
      if (attempt.given) void connection.close();
    },
    () => {},
  );
  const ended = Promise.withResolvers<never>();
  const giveUp = (reason: string) => {
    ended.reject(new Error(reason));
    cut();
  };
  const timer = setTimeout(() => giveUp(`no answer within ${CONNECT_TIMEOUT_MS} ms`), CONNECT_TIMEOUT_MS);
  const onAbort = () => giveUp('the bus is closing');
  options.signal.addEventListener('abort', onAbort);
  try {
    const connection = await Promise.race([connecting, ended.promise]);
    attempt.dialling = false;
    return { connection, cut };
  } catch (error) {
    cut();
    throw new Error(`${server.url}: ${explain(error, settings)}`, { cause: error });
  } finally {
    clearTimeout(timer);
    options.signal.removeEventListener('abort', onAbort);
  }
}

/** Ends a connection with what its kernel buffer holds: a cut network that heals must not carry it on. */
function reset(socket: Socket): void {
  if (socket.destroyed) return;
  // nats.js takes its listeners off before it destroys; an error without a listener would end the process.
  socket.on('error', () => {});
  socket.resetAndDestroy();
}

function explain(error: unknown, settings: Settings): string {
  if (error instanceof AuthorizationError || error instanceof UserAuthenticationExpiredError)
    return `the server refuses our credentials (${describeCredentials(settings)}): ${error.message}`;
  const code = codeOf(error);
  const message = error instanceof Error ? error.message : String(error);
  switch (code) {
    case 'ECONNREFUSED':
      return 'connection refused: nothing listens there';
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return `the host's name can't be resolved (${code})`;
    case 'UNABLE_TO_VERIFY_LEAF_SIGNATURE':
    case 'UNABLE_TO_GET_ISSUER_CERT':
    case 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY':
    case 'SELF_SIGNED_CERT_IN_CHAIN':
    case 'DEPTH_ZERO_SELF_SIGNED_CERT':
    case 'CERT_SIGNATURE_FAILURE': {
      const trusted =
        settings.tls?.caFile === undefined ? "Node's own list" : `bus.nats.tls.caFile ${settings.tls.caFile}`;
      return `the server's certificate is not signed by an authority of ${trusted} (${code})`;
    }
    case 'CERT_HAS_EXPIRED':
      return "the server's certificate has expired";
    case 'ERR_TLS_CERT_ALTNAME_INVALID':
      return `the server's certificate is for another name: ${message}`;
  }
  if (message.includes("does not support 'tls'")) return 'TLS is asked for, and the server offers none';
  return code === undefined ? message : `${message} (${code})`;
}

function codeOf(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  if ('code' in error && typeof error.code === 'string') return error.code;
  return codeOf(error.cause);
}
