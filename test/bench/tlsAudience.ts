/**
 * Idle WebSocket connections over TLS for the memory case, because the C client does not support TLS. Commands are
 * those of client.c: `more N` opens N connections and is answered with an `opened` line. Usage: tlsAudience.ts PORT
 * ROOM
 */
import { createInterface } from 'node:readline';
import { connect, type TLSSocket } from 'node:tls';

const IN_FLIGHT = 64;
const SOURCES = 8;
const port = Number(process.argv[2]);
const room = process.argv[3] ?? 'live';
const JOIN = Buffer.from(JSON.stringify({ type: 'JOIN', id: 1, data: { room } }));

const sockets: TLSSocket[] = [];

createInterface(process.stdin)
  .on('line', (line) => void open(Number(/^more (\d+)$/.exec(line)?.[1] ?? 0)))
  .on('close', () => process.exit(0));

async function open(count: number) {
  const began = performance.now();
  let begun = 0;
  let failed = 0;
  const lane = async () => {
    while (begun < count) {
      begun++;
      try {
        sockets.push(await openOne(sockets.length + begun));
      } catch {
        failed++;
      }
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, lane));
  const seconds = (performance.now() - began) / 1_000;
  const handshake = { p50: 0, p99: 0, max: 0 };
  const opened = {
    event: 'opened',
    open: sockets.length,
    joined: sockets.length,
    failed,
    seconds,
    handshake,
    refused: {},
  };
  process.stdout.write(`${JSON.stringify(opened)}\n`);
}

function openOne(index: number): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    // The certificate belongs to this run. Only the memory of connections is measured.
    const options = {
      host: '127.0.0.1',
      port,
      localAddress: `127.0.1.${1 + (index % SOURCES)}`,
      rejectUnauthorized: false,
    };
    const socket = connect(options, () => {
      socket.write(
        'GET /connect HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
          'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n',
      );
    });
    let heard = '';
    socket.on('data', (chunk: Buffer) => {
      const before = heard;
      heard = (heard + chunk.toString('latin1')).slice(-512);
      if (before === '' && heard.startsWith('HTTP/1.1 101')) socket.write(masked(JOIN));
      if (heard.includes('"OK"')) resolve(socket);
    });
    socket.on('error', reject);
    socket.on('close', () => reject(new Error('closed')));
  });
}

/** A short text frame, masked with zeros. */
function masked(payload: Buffer): Buffer {
  return Buffer.concat([Buffer.from([0x81, 0x80 | payload.length, 0, 0, 0, 0]), payload]);
}
