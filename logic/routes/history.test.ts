import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { test } from 'node:test';
import { createLog } from '@pushcluster/runtime/log.ts';
import { until } from '@pushcluster/test/harness/until.ts';
import { ApiKeys } from '../access/apiKeys.ts';
import type { HistoryReader } from '../history/historyReader.ts';
import { createServer } from '../http/server.ts';
import { historyRoutes } from './history.ts';

test('sixteen histories are read at once, also where the clients have left', async (t) => {
  const reads: (() => void)[] = [];
  const histories = {
    read: () => new Promise<Buffer>((resolve) => reads.push(() => resolve(Buffer.from('{}')))),
  } as unknown as HistoryReader;
  const keys = new ApiKeys([], createLog('test', 'error'));
  const log = { info: () => {}, warn: () => {}, error: assert.fail };
  const refuse = { onConnectionRefused: assert.fail, onUnread: assert.fail };
  const app = await createServer({
    ...{ keys, log, bodyLimit: 1_024, ...refuse },
    allowedOrigins: () => [],
    leaving: () => false,
  });
  let refusals = 0;
  await app.register(historyRoutes, { keys, histories, onRefused: () => refusals++ });
  const { port } = new URL(await app.listen({ host: '127.0.0.1', port: 0 }));
  t.after(() => {
    for (const end of reads) end();
    return app.close();
  });
  const url = `http://127.0.0.1:${port}/v1/rooms/live-1/history`;

  const clients = Array.from({ length: 16 }, () => connect(Number(port), '127.0.0.1'));
  for (const client of clients) client.write('GET /v1/history?room=live-1 HTTP/1.1\r\nHost: localhost\r\n\r\n');
  await until('all are being read', () => reads.length === 16);
  const refused = await fetch(url);
  assert.equal(refused.status, 503);
  assert.match(refused.headers.get('retry-after') ?? '', /^\d+$/);
  assert.equal(((await refused.json()) as { code: string }).code, 'overloaded');

  const left = clients.map((client) => once(client.destroy(), 'close'));
  await Promise.all(left);
  assert.equal((await fetch(url)).status, 503);
  assert.equal(refusals, 2);

  for (const end of reads.splice(0)) end();
  const answers = Array.from({ length: 16 }, () => fetch(url));
  await until('others are being read', () => reads.length === 16);
  for (const end of reads) end();
  for (const { status } of await Promise.all(answers)) assert.equal(status, 200);
});
