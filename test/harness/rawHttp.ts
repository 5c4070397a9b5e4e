import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

export type RawReply = { status: number; headers: Map<string, string>; body: string };

/** Writes `bytes` to a server on loopback; returns the socket, to which a test may write more. */
export async function dialRaw(port: number, bytes: string | Uint8Array = ''): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  await once(socket, 'connect');
  socket.write(bytes);
  return socket;
}

/** Reads until the server ends the connection. Rejects if the connection is reset. */
export async function readAll(socket: Socket): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk);
  socket.end();
  return Buffer.concat(chunks).toString('utf8');
}

/** Parses consecutive HTTP replies. Throws if `text` is not HTTP, or a reply is incomplete. */
export function repliesIn(text: string): RawReply[] {
  const replies: RawReply[] = [];
  let rest = Buffer.from(text);
  while (rest.length > 0) {
    const end = rest.indexOf('\r\n\r\n');
    const [first = '', ...lines] = rest.toString('utf8', 0, end).split('\r\n');
    const [, status] = /^HTTP\/1\.1 (\d{3}) \S/.exec(first) ?? [];
    if (end < 0 || status === undefined) throw new Error(`no HTTP response: ${JSON.stringify(rest.toString())}`);
    const headers = new Map(lines.map((line) => [line.split(':', 1)[0]!.toLowerCase(), line.replace(/^[^:]*: */, '')]));
    const length = Number(headers.get('content-length') ?? 0);
    const body = rest.subarray(end + 4, end + 4 + length);
    if (body.length < length) throw new Error(`a body of ${length} bytes is cut after ${body.length}`);
    rest = rest.subarray(end + 4 + length);
    replies.push({ status: Number(status), headers, body: body.toString() });
  }
  return replies;
}
