import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { text } from 'node:stream/consumers';
import { describe, it } from 'node:test';
import { parseProxyHeader } from '@pushcluster/gateway/proxyProtocol/proxyHeader.ts';
import { NodeHealth } from '../harness/cluster/healthCheck.ts';
import { ProxyingListener } from '../harness/cluster/proxyingListener.ts';

const CHECK = { interval: 10_000, threshold: 3 };

function after(...results: boolean[]): boolean {
  const health = new NodeHealth();
  for (const result of results) health.checked(result, CHECK);
  return health.isHealthy;
}

describe('the health of a node, as the load balancer of the test cluster sees it', () => {
  it('is what the first check says', () => {
    assert.equal(after(), false);
    assert.equal(after(true), true);
    assert.equal(after(false), false);
  });

  it('changes after as many failures in a row as the threshold, and after one success', () => {
    assert.equal(after(true, false, false), true);
    assert.equal(after(true, false, false, false), false);
    assert.equal(after(true, false, false, true, false, false), true);
    assert.equal(after(true, false, false, false, true), true);
  });

  it('is checked once an interval', () => {
    const health = new NodeHealth();
    const looks = [0, 500, 9_900, 10_300, 19_900, 20_300, 60_000, 60_500];
    const due = looks.filter((now) => health.isDue(now, CHECK));
    assert.deepEqual(due, [0, 10_300, 20_300, 60_000]);
  });
});

describe('a load balancer that sends the PROXY protocol', () => {
  for (const { family, host, client: address, destination } of [
    { family: 'IPv4', host: '127.0.0.1', client: '127.0.0.9', destination: '10.90.0.1' },
    { family: 'IPv6', host: '::1', client: '::1', destination: 'fd00:90::1' },
  ])
    it(`tells the client in a header with TLVs, of 84 bytes, and passes on what client and server say (${family})`, async (t) => {
      const got: string[] = [];
      const server = createServer({ allowHalfOpen: true }, (socket) => {
        socket.setEncoding('latin1').on('data', (part: string) => got.push(part));
        socket.once('end', () => socket.end('goodbye'));
      }).listen(0, host);
      t.after(() => server.close());
      await once(server, 'listening');
      const listener = await ProxyingListener.start({ address: destination, port: 7_777 }, host);
      t.after(() => listener.stop());
      listener.targets = [{ host, port: (server.address() as AddressInfo).port }];
      const client = connect({ port: listener.port, host, localAddress: address, allowHalfOpen: true });
      client.end('hello');
      assert.equal(await text(client), 'goodbye');
      const all = Buffer.from(got.join(''), 'latin1');
      assert.deepEqual(parseProxyHeader(all), { type: 'header', length: 84, source: address });
      assert.equal(all.toString('latin1', 84), 'hello');
    });

  it('resets connections while no node is healthy', async (t) => {
    const listener = await ProxyingListener.start({ address: '10.90.0.1', port: 7_777 }, '127.0.0.1');
    t.after(() => listener.stop());
    const client = connect({ port: listener.port, host: '127.0.0.1' });
    const error = await new Promise<Error>((resolve) => client.once('error', resolve));
    assert.match(error.message, /ECONNRESET/);
  });
});
