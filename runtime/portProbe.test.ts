import assert from 'node:assert/strict';
import { type AddressInfo, createServer } from 'node:net';
import { test } from 'node:test';
import { OWN_PORT, ownAddress } from '@pushcluster/test/harness/loopback.ts';
import { assertPortFree } from './portProbe.ts';

test('a free port is found free, and is free afterwards', async () => {
  const host = ownAddress(1);
  await assertPortFree(host, OWN_PORT, 'WebSocket');
  await assertPortFree(host, OWN_PORT, 'WebSocket');
  const server = createServer();
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(OWN_PORT, host, resolve));
  await assert.rejects(assertPortFree(host, OWN_PORT, 'WebSocket'), /is taken/);
  await assertPortFree(host, 0, 'WebSocket');
  await new Promise((resolve) => server.close(resolve));
});

test('a port that another process would share silently is found taken', async () => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen({ port: 0, host: '127.0.0.1', reusePort: true }, resolve));
  const { port } = server.address() as AddressInfo;
  for (const host of ['127.0.0.1', '0.0.0.0'])
    await assert.rejects(assertPortFree(host, port, 'WebSocket', 'set PORT to another'), {
      message: `WebSocket: port ${port} is taken by another process on ${host}: stop that one, or set PORT to another`,
    });
  await new Promise((resolve) => server.close(resolve));
});

test('an address that is not of this machine is told as that', async () => {
  await assert.rejects(assertPortFree('192.0.2.1', 7_777, 'WebSocket'), {
    message: 'WebSocket: 192.0.2.1 is not an address of this machine',
  });
});
