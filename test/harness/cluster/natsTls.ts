import { once } from 'node:events';
import { connect } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { z } from 'zod';

const PORTS = { clients: 4_222, routes: 6_222 };
const PATIENCE_MS = 10_000;

/** What a server says first to a client that connects. */
const Info = z.object({ tls_required: z.boolean().default(false), tls_available: z.boolean().default(false) });

/**
 * Whether a NATS server requires TLS of its clients, or accepts it, and whether its routes begin with TLS. Throws if the
 * server is not reached.
 */
export async function natsTls(host: string): Promise<{ clients: 'required' | 'accepted' | 'none'; routes: boolean }> {
  const info = Info.parse(JSON.parse(/^INFO (\{.*\})/.exec(await greeting(host))?.[1] ?? ''));
  const clients = info.tls_required ? 'required' : info.tls_available ? 'accepted' : 'none';
  return { clients, routes: await answersTls(host) };
}

async function greeting(host: string): Promise<string> {
  const socket = connect({ host, port: PORTS.clients, timeout: PATIENCE_MS }).setEncoding('utf8');
  socket.once('timeout', () => socket.destroy(new Error(`NATS at ${host} says nothing`)));
  let text = '';
  for await (const part of socket) {
    text += part;
    if (text.includes('\r\n')) break;
  }
  return text;
}

/** A server that expects no TLS answers with an error, or with text. */
async function answersTls(host: string): Promise<boolean> {
  const port = PORTS.routes;
  // Servers verify each other's certificates: a client without one learns only that it speaks TLS.
  const socket = connectTls({ host, port, rejectUnauthorized: false, timeout: PATIENCE_MS });
  socket.once('timeout', () => socket.destroy(new Error(`the routes of NATS at ${host} answer nothing`)));
  try {
    await once(socket, 'secureConnect');
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && /^(ERR_SSL_|ECONNRESET)/.test(String(error.code))) return false;
    throw error;
  } finally {
    socket.on('error', () => {});
    socket.destroy();
  }
}
