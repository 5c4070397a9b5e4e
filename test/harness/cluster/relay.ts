import { connect, createServer, type NetConnectOpts } from 'node:net';

/**
 * `node relay.ts FROM TO`: forwards connections from one address or Unix socket to another. Unix sockets work across
 * network namespaces: with one relay in each namespace, a port there becomes a port here.
 */
const [from, to] = process.argv.slice(2);
if (from === undefined || to === undefined) {
  process.stderr.write('usage: node relay.ts FROM TO, each HOST:PORT or the path of a socket\n');
  process.exit(2);
}

createServer({ allowHalfOpen: true }, (incoming) => {
  const outgoing = connect(endpoint(to));
  incoming.pipe(outgoing).pipe(incoming);
  incoming.once('error', () => outgoing.destroy());
  outgoing.once('error', () => incoming.destroy());
  incoming.once('close', () => outgoing.destroy());
  outgoing.once('close', () => incoming.destroy());
}).listen(endpoint(from));

function endpoint(text: string): NetConnectOpts & { allowHalfOpen: true } {
  if (text.includes('/')) return { path: text, allowHalfOpen: true };
  const [host, port] = text.split(':');
  return { host: host!, port: Number(port), allowHalfOpen: true };
}
