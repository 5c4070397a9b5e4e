import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, Socket as NetSocket, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import tls, { TLSSocket } from 'node:tls';
import type { TlsOptions } from 'nats';
import { connect } from './natsTransport.ts';

const CHANNEL = 'net.client.socket';

/** What a server says first. */
function info(more: object = {}): string {
  const all = { server_id: 'x', version: '2.14.8', proto: 1, max_payload: 1_000, headers: true, ...more };
  return `INFO ${JSON.stringify(all)}\r\n`;
}

/** Connects to a server that does no more than `serve`, in vain. Resolves with the sockets that were used for it. */
async function tryToConnect(t: TestContext, serve: (socket: Socket) => void, options: TlsOptions | null) {
  const sockets: Socket[] = [];
  const note = (message: unknown) => sockets.push((message as { socket: Socket }).socket);
  subscribe(CHANNEL, note);
  t.after(() => unsubscribe(CHANNEL, note));
  const encrypted = t.mock.method(tls, 'connect');
  const server = createServer((socket) => {
    socket.on('error', () => {});
    serve(socket);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const { port } = server.address() as { port: number };
  const connecting = connect({ servers: [`127.0.0.1:${port}`], reconnect: false, timeout: 500, tls: options });
  await assert.rejects(connecting);
  return [...sockets, ...encrypted.mock.calls.map(({ result }) => result!)];
}

for (const [when, serve] of [
  ['was refused', (socket: Socket) => socket.end('-ERR no\r\n')],
  ['was reset', (socket: Socket) => socket.write(info(), () => socket.resetAndDestroy())],
] as const)
  test(`an error that comes late, from a connection that ${when}, is no uncaught exception`, async (t) => {
    const sockets = await tryToConnect(t, serve, null);
    assert.ok(sockets.length > 0);
    for (const socket of sockets) socket.emit('error', new Error('read ECONNRESET'));
  });

/** Makes the servers' ends of connections encrypted ones. */
function encryption(t: TestContext): (socket: Socket) => TLSSocket {
  const folder = mkdtempSync(join(tmpdir(), 'pushcluster-transport-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const [keyFile, certFile] = [join(folder, 'key'), join(folder, 'certificate')];
  const args = [
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:prime256v1',
    '-nodes',
    '-subj',
    '/CN=a',
  ];
  execFileSync('openssl', [...args, '-keyout', keyFile, '-out', certFile], { stdio: 'ignore' });
  const [key, cert] = [readFileSync(keyFile), readFileSync(certFile)];
  return (socket) => new TLSSocket(socket, { isServer: true, key, cert }).on('error', () => {});
}

const ANY_CERTIFICATE = { rejectUnauthorized: false } as TlsOptions;

test('nor is one from an encrypted connection', async (t) => {
  const encrypt = encryption(t);
  const serve = (socket: Socket) => {
    socket.write(info({ tls_required: true }));
    // CONNECT
    encrypt(socket).once('data', () => socket.resetAndDestroy());
  };
  const sockets = await tryToConnect(t, serve, ANY_CERTIFICATE);
  assert.ok(sockets.some((socket) => socket instanceof TLSSocket));
  for (const socket of sockets) socket.emit('error', new Error('read ECONNRESET'));
});

test('the listeners that nats.js removes are gone', async (t) => {
  const [socket] = await tryToConnect(t, (peer) => peer.end('-ERR no\r\n'), null);
  let heard = 0;
  socket!.on('data', () => heard++);
  socket!.on('timeout', () => heard++);
  socket!.removeAllListeners('data');
  socket!.emit('data', Buffer.of());
  assert.equal(heard, 0);
  socket!.removeAllListeners();
  socket!.emit('timeout');
  assert.equal(heard, 0);
});

test('what is read comes in order, however it is cut, and what is no message ends the connection', async (t) => {
  const peer = Promise.withResolvers<Socket>();
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.write(info());
    // CONNECT and PING; what is sent with the answer is read before `connect` has returned.
    socket.once('data', () => {
      socket.write('PONG\r\n');
      peer.resolve(socket);
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const { port } = server.address() as { port: number };
  const connection = await connect({ servers: [`127.0.0.1:${port}`], reconnect: false, tls: null });
  const got: string[] = [];
  connection.subscribe('s', {
    callback: (_error, message) => {
      got.push(message.string());
    },
  });
  const socket = await peer.promise;
  const expected = Array.from({ length: 200 }, (_, i) => `message ${i}`);
  const bytes = Buffer.from(expected.map((text) => `MSG s 1 ${text.length}\r\n${text}\r\n`).join(''));
  socket.setNoDelay();
  for (let at = 0, size = 1; at < bytes.length; at += size) {
    size = (size % 97) + 7;
    socket.write(bytes.subarray(at, at + size));
    await new Promise(setImmediate);
  }
  while (got.length < expected.length) await new Promise(setImmediate);
  assert.deepEqual(got, expected);
  socket.write('what is this\r\n');
  await connection.closed();
});

for (const isEncrypted of [false, true])
  test(`a busy ${isEncrypted ? 'encrypted ' : ''}connection is paused where it reads from the network, and goes on`, async (t) => {
    const encrypt = isEncrypted ? encryption(t) : (socket: Socket) => socket;
    const peer = Promise.withResolvers<Socket>();
    const server = createServer((plain) => {
      plain.on('error', () => {});
      plain.write(info({ tls_required: isEncrypted }));
      const socket = encrypt(plain);
      // CONNECT and PING
      socket.once('data', () => socket.write('PONG\r\n', () => peer.resolve(socket)));
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.after(() => server.close());
    const { port } = server.address() as { port: number };
    const options = { servers: [`127.0.0.1:${port}`], reconnect: false, tls: isEncrypted ? ANY_CERTIFICATE : null };
    const connection = await connect(options, true);
    t.after(() => connection.close());
    let got = 0;
    connection.subscribe('s', {
      callback: () => {
        got++;
      },
    });
    const socket = await peer.promise;
    const paused = t.mock.method(NetSocket.prototype, 'pause');
    const held: (() => void)[] = [];
    const { resume } = NetSocket.prototype;
    t.mock.method(NetSocket.prototype, 'resume', function (this: Socket) {
      held.push(() => resume.call(this));
      return this;
    });
    const send = (messages: number) =>
      new Promise<unknown>((resolve) => socket.write('MSG s 1 1\r\nx\r\n'.repeat(messages), resolve));
    await send(1_000);
    while (paused.mock.callCount() === 0) await new Promise(setImmediate);
    await send(10);
    while (held.length === 0) await new Promise(setImmediate);
    // A stream of TLS that is paused goes on to read.
    assert.ok(paused.mock.calls.every((call) => !(call.this instanceof TLSSocket)));
    assert.equal(got, 1_000);
    t.mock.restoreAll();
    for (const goOn of held) goOn();
    while (got < 1_010) await new Promise(setImmediate);
  });
