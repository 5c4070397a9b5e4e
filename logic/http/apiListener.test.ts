import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { describe, test } from 'node:test';
import { logLines } from '@pushcluster/test/harness/logLines.ts';
import { OWN_PORT, ownAddress } from '@pushcluster/test/harness/loopback.ts';
import { until } from '@pushcluster/test/harness/until.ts';
import { ApiListener, listenHost } from './apiListener.ts';

describe('where the push API listens', () => {
  test('is the host that is set where there are keys, and loopback where there are none', () => {
    for (const host of ['0.0.0.0', '::', '10.0.0.1', 'push.example', '127.0.0.1', '::1', 'localhost'])
      assert.equal(listenHost(host, true), host);
    for (const host of ['0.0.0.0', '::', '10.0.0.1', 'push.example', '127.0.0.1.example', 'localhost.example', ''])
      assert.equal(listenHost(host, false), '127.0.0.1', host);
    for (const host of ['127.0.0.1', '127.0.0.9', '::1', 'localhost']) assert.equal(listenHost(host, false), host);
  });

  test('reports a host that it can not listen on, and listens on the next one', async (t) => {
    const [own, other] = [ownAddress(1), ownAddress(2)];
    const server = createServer().listen(OWN_PORT, own);
    await once(server, 'listening');
    const { log } = logLines();
    const listener = new ApiListener(server, own, log);
    const taken = createTcpServer().listen(listener.port, other);
    t.after(() => {
      listener.close();
      server.close();
      taken.close();
    });
    await once(taken, 'listening');
    const host = () => (server.address() as AddressInfo | null)?.address;
    listener.move(other);
    await until('the failure is reported', () => listener.problem !== undefined);
    assert.ok(listener.problem?.includes(`port ${OWN_PORT} is taken by another process on ${other}`), listener.problem);
    listener.move(own);
    await until('it listens', () => host() === own);
    assert.equal(listener.problem, undefined);
    assert.equal(listener.port, (server.address() as AddressInfo).port);
  });

  test('stays where one connection could not be accepted', async (t) => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { log, lines } = logLines();
    const listener = new ApiListener(server, '127.0.0.1', log);
    t.after(() => {
      listener.close();
      server.close();
    });
    server.emit('error', new Error('accept EMFILE'));
    assert.equal(listener.problem, undefined);
    assert.equal(server.listening, true);
    assert.equal(lines.length, 1);
  });

  test('changes no more once it is closed', async (t) => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { log } = logLines();
    const listener = new ApiListener(server, '127.0.0.1', log);
    t.after(() => server.close());
    listener.close();
    listener.move('127.0.0.2');
    assert.equal((server.address() as AddressInfo).address, '127.0.0.1');
  });
});
