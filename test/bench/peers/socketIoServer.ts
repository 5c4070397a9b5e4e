/**
 * The peer socket.io (npm), as in its guide: join the room that the client names, then emit to the room. Usage: socketIoServer.ts FOLDER (where it is
 * installed)
 */
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { join } from 'node:path';

type Server = {
  on(
    event: 'connection',
    listener: (socket: { handshake: { auth: Record<string, unknown> }; join(room: string): void }) => void,
  ): void;
  to(room: string): { emit(event: string, item: unknown): void };
};
type Library = { Server: new (http: ReturnType<typeof createServer>, options: object) => Server };

const { Server }: Library = createRequire(join(process.argv[2] ?? '.', 'package.json'))('socket.io');

const http = createServer((request, response) => {
  const url = new URL(request.url ?? '/', 'http://localhost');
  if (url.pathname !== '/push') return;
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => {
    io.to(url.searchParams.get('room') ?? '').emit('push', JSON.parse(Buffer.concat(chunks).toString()));
    response.end();
  });
});
// Pings of socket.io are messages of its own protocol, which the client does not answer. The first ping comes after the
// run.
const io = new Server(http, { transports: ['websocket'], pingInterval: 3_600_000, pingTimeout: 3_600_000 });
io.on('connection', (socket) => socket.join(String(socket.handshake.auth.room)));

// Between two measurements the publisher pauses for longer than Node's five seconds.
http.keepAliveTimeout = 60_000;
http.listen(0, '127.0.0.1', () => {
  const address = http.address();
  if (address === null || typeof address === 'string') throw new Error('the peer has no port');
  process.stdout.write(`${JSON.stringify({ event: 'listening', port: address.port })}\n`);
});
process.stdin.on('close', () => process.exit(0)).resume();
