/**
 * The peer `ws` (npm) as commonly used: a Set for each room, and a loop of send. POST /push?room=R with the item as
 * body.
 */
import { createServer } from 'node:http';
import { type WebSocket, WebSocketServer } from 'ws';

const rooms = new Map<string, Set<WebSocket>>();

const server = createServer((request, response) => {
  const room = new URL(request.url ?? '/', 'http://localhost').searchParams.get('room') ?? '';
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => {
    const frame = `{"type":"PUSH","data":{"room":${JSON.stringify(room)},"items":[${Buffer.concat(chunks)}]}}`;
    for (const socket of rooms.get(room) ?? []) socket.send(frame);
    response.end();
  });
});

new WebSocketServer({ server, perMessageDeflate: false }).on('connection', (socket) => {
  socket.on('message', (data) => {
    const room = /"room":"([^"]*)"/.exec(String(data))?.[1];
    if (room === undefined) return;
    const members = rooms.get(room) ?? new Set();
    rooms.set(room, members.add(socket));
    socket.on('close', () => members.delete(socket));
    socket.send('{"type":"OK","id":1}');
  });
});

// Between two measurements the publisher pauses for longer than Node's five seconds.
server.keepAliveTimeout = 60_000;
server.listen(0, '127.0.0.1', () => {
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the peer has no port');
  process.stdout.write(`${JSON.stringify({ event: 'listening', port: address.port })}\n`);
});
process.stdin.on('close', () => process.exit(0)).resume();
