import assert from 'node:assert/strict';
import { type AddressInfo, createServer } from 'node:net';
import { test } from 'node:test';
import { assertPortFree } from './portProbe.ts';

test('a free port is found free, and is free afterwards', async () => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  await assertPortFree('127.0.0.1', port, 'WebSocket');
  await assertPortFree('127.0.0.1', port, 'WebSocket');
  await assertPortFree('127.0.0.1', 0, 'WebSocket');
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
