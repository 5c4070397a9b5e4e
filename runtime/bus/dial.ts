import { AsyncLocalStorage } from 'node:async_hooks';
import { subscribe as onChannel } from 'node:diagnostics_channel';
import { Socket } from 'node:net';
import type { NatsSettings } from '@pushcluster/protocol/settings.ts';
import { AuthorizationError, type ConnectionOptions, type NatsConnection, UserAuthenticationExpiredError } from 'nats';
import type { z } from 'zod';
import { type CredentialFiles, type Credentials, describeCredentials } from './credentialFiles.ts';
import { type DirectSubscription, subscribe, unsubscribe } from './directSubscription.ts';
import { connect } from './natsTransport.ts';

type Settings = z.infer<typeof NatsSettings>;

/** A server's address, parsed. */
export type Server = { url: string; host: string; port: number; tls: boolean };

/**
 * Milliseconds for one attempt: TCP, TLS and authentication. Short, because after a network failure a new attempt gets
 * through sooner than the next retransmitted SYN.
 */
const CONNECT_TIMEOUT_MS = 3_000;

/** nats-server's own default. */
const DEFAULT_PORT = 4222;

/**
 * The sockets that an attempt opened. nats.js does not close the socket of an attempt that timed out, and closes a socket
 * in use so that the kernel still sends its buffer. Both are ended here instead (runtime/README.md, "Internals").
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
onChannel('net.client.socket', noteSocket);

/** Parses `nats://host:port`, `tls://host:port` or `host:port`. Throws an Error with a sentence if it is none of them. */
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

/** A connection of nats.js. `cut()` ends it so that nothing of it is sent later. */
export type RawConnection = {
  connection: NatsConnection;
  cut(): void;
  subscribe(subscription: DirectSubscription): void;
  unsubscribe(subscription: DirectSubscription): void;
};

type DialOptions = {
  name: string;
  signal: AbortSignal;
  /** Many messages in a short time are read together. */
  isPaced?: boolean | undefined;
};

/**
 * Connects to `server`, with other credentials if it refuses the first. Rejects with a sentence that says why, after
 * CONNECT_TIMEOUT_MS for each at the latest and at once when `signal` aborts.
 */
export async function dial(
  server: Server,
  settings: Settings,
  { credentials, ...options }: DialOptions & { credentials: CredentialFiles },
): Promise<RawConnection> {
  let refusal: unknown;
  for (const each of credentials.read()) {
    try {
      const connection = await dialWith(each, server, settings, options);
      credentials.accepted(each);
      return connection;
    } catch (error) {
      if (!(error instanceof Error) || !isRefusal(error.cause)) throw error;
      refusal = error;
    }
  }
  throw refusal;
}

async function dialWith(
  { authenticator, tls }: Credentials,
  server: Server,
  settings: Settings,
  options: DialOptions,
): Promise<RawConnection> {
  options.signal.throwIfAborted();
  const connectionOptions: ConnectionOptions = {
    servers: [server.url.replace(/^tls:/, 'nats:')],
    name: options.name,
    authenticator,
    reconnect: false,
    // Only the addresses of the settings: those that a cluster announces may not be reachable from here.
    ignoreClusterUpdates: true,
    pingInterval: settings.pingInterval,
    maxPingOut: 2,
    noAsyncTraces: true,
    // Longer than ours, because nats.js would leave its socket open.
    timeout: CONNECT_TIMEOUT_MS * 2,
  };
  if (tls !== undefined || server.tls) {
    // Without `host` a certificate of an IP address would be checked against the name localhost.
    const withHost = { ...tls, host: server.host };
    connectionOptions.tls = withHost;
  } else {
    // TLS that the server merely offers is not taken up: nats.js would trust only the public authorities.
    connectionOptions.tls = null;
  }
  // If the bus is closed in this very turn, no socket is made: a socket that is ended before it connects still connects.
  await Promise.resolve();
  options.signal.throwIfAborted();
  const attempt: Attempt = { sockets: [], dialling: true, given: false };
  const cut = () => {
    attempt.given = true;
    for (const socket of attempt.sockets) reset(socket);
  };
  const connecting = attempts.run(attempt, () => connect(connectionOptions, options.isPaced));
  // A connection that succeeds after the attempt was given up.
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
    return {
      connection,
      cut,
      subscribe: (subscription) => subscribe(connection, subscription),
      unsubscribe: (subscription) => unsubscribe(connection, subscription),
    };
  } catch (error) {
    cut();
    throw new Error(`${server.url}: ${explain(error, settings)}`, { cause: error });
  } finally {
    clearTimeout(timer);
    options.signal.removeEventListener('abort', onAbort);
  }
}

/** Ends a connection and discards its kernel buffer: a network that recovers must not deliver it. */
function reset(socket: Socket): void {
  if (socket.destroyed) return;
  // nats.js removes its listeners before it destroys the socket. An error without a listener would end the process.
  socket.on('error', () => {});
  socket.resetAndDestroy();
}

/** The server refuses the credentials. */
function isRefusal(error: unknown): error is Error {
  return error instanceof AuthorizationError || error instanceof UserAuthenticationExpiredError;
}

function explain(error: unknown, settings: Settings): string {
  if (isRefusal(error))
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
