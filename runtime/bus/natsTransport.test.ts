import assert from 'node:assert/strict';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { test } from 'node:test';
import { connect } from './natsTransport.ts';

/** What a server says first. */
const INFO = `INFO ${JSON.stringify({ server_id: 'x', version: '2.14.8', proto: 1, max_payload: 1_000, headers: true })}\r\n`;
const CHANNEL = 'net.client.socket';

for (const [when, serve] of [
  ['that was refused', (socket: Socket) => socket.end('-ERR no\r\n')],
  ['that was reset', (socket: Socket) => socket.write(INFO, () => socket.resetAndDestroy())],
] as const)
  test(`an error that comes late, from a connection ${when}, is no uncaught exception`, async (t) => {
    const sockets: Socket[] = [];
    const note = (message: unknown) => sockets.push((message as { socket: Socket }).socket);
    subscribe(CHANNEL, note);
    t.after(() => unsubscribe(CHANNEL, note));
    const server = createServer((socket) => {
      socket.on('error', () => {});
      serve(socket);
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.after(() => server.close());
    const { port } = server.address() as { port: number };
    await assert.rejects(connect({ servers: [`127.0.0.1:${port}`], reconnect: false, timeout: 500 }));
    assert.ok(sockets.length > 0);
    for (const socket of sockets) socket.emit('error', new Error('read ECONNRESET'));
  });
