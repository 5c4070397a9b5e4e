import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { StatusClient } from '@pushcluster/operator/podStatus/statusClient.ts';
import { inUrl } from './cluster/addressPlan.ts';
import { Connection } from './connection.ts';
import { startNatsServer } from './natsServer.ts';
import { startGateway, startLogic } from './processes.ts';
import { until } from './until.ts';

/**
 * `node onlyFamily.ts ADDRESS`, in a network namespace whose only address besides loopback is ADDRESS: NATS, logic and
 * gateways with the hosts that are their default. A client that connects to ADDRESS receives what is pushed to ADDRESS.
 * Prints a line for each step; ends with an error if one fails.
 */

const [address = ''] = process.argv.slice(2);
const host = inUrl(address);
const key = randomBytes(16).toString('hex');
const folder = mkdtempSync(join(tmpdir(), 'pushcluster-key-'));
const file = join(folder, 'key');
writeFileSync(file, key);

const nats = await startNatsServer({ host: '0.0.0.0' });
const bus = [`nats://${host}:${nats.port}`];
const everywhere = { host: '::' };
const logic = await startLogic({
  nats: bus,
  settings: { admin: everywhere, logic: { ...everywhere, apiKeys: [{ name: 'test', file }] } },
});
for (const proxyProtocol of [false, true]) {
  const gateway = await startGateway({
    nats: bus,
    settings: { admin: everywhere, gateway: { ...everywhere, shards: 2, proxyProtocol } },
  });
  const open = () =>
    Connection.open({
      host: address,
      port: gateway.port,
      form: 'v1',
      ...(proxyProtocol && { ahead: Buffer.from('PROXY UNKNOWN\r\n') }),
    });
  const client = await open();
  await client.join('live');
  const response = await fetch(`http://${host}:${logic.port}/v1/push`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: '{"to":{"room":"live"},"items":["hello"]}',
  });
  if (response.status !== 202) throw new Error(`the push was answered with ${response.status}`);
  await until('the item arrives', () => client.received === 1);
  const statusClient = new StatusClient(gateway.adminPort);
  await until('its status counts the client', async () => (await statusClient.ask(address)).connections === 1);
  statusClient.close();
  console.log(`${proxyProtocol ? 'PROXY protocol' : 'direct'}: 1 item received, 1 connection by its status`);
  client.cut();
  await gateway.stop();
}
await logic.stop();
await nats.stop();
rmSync(folder, { recursive: true });
