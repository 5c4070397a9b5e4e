import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Connection, cutAll, WIRE_FORMS } from '../harness/connection.ts';
import { Ledger } from '../harness/ledger.ts';
import { type NatsServer, startNatsServer } from '../harness/natsServer.ts';
import { isFree } from '../harness/ports.ts';
import { type GatewayProcess, isAlive, type LogicProcess, startGateway, startLogic } from '../harness/processes.ts';
import { until } from '../harness/until.ts';

const PER_FORM = 20;

let nats: NatsServer;
let logic: LogicProcess;
let gateways: GatewayProcess[];

before(async () => {
  nats = await startNatsServer();
  const settings = { gateway: { shards: 2, batching: { maxDelay: 100 } } };
  logic = await startLogic({ nats: [nats.url] });
  gateways = await Promise.all([0, 1].map(() => startGateway({ settings, nats: [nats.url] })));
});
after(async () => {
  await Promise.all([...gateways, logic].map((process) => process.stop()));
  await nats.stop();
});

describe('a gateway that is killed with -9', () => {
  it('takes its shards along, harms no other gateway, and can start again at once', async (t) => {
    const [victim, other] = gateways as [GatewayProcess, GatewayProcess];
    const [lost, kept] = [await connect(victim), await connect(other)];
    const ledger = new Ledger();
    const writer = ledger.writer('w', { room: 'r' }, logic);
    const all = ledger.writer('a', { all: true }, logic);
    let pushing = true;
    const load = (async () => {
      while (pushing) for (const one of [writer, all]) await one.push(2, 50);
    })();
    await until('items flow', () => [...lost, ...kept].every(({ received }) => received > 20));

    const shards = victim.shardPids;
    assert.equal(shards.length, 2);
    const killed = performance.now();
    await victim.kill();
    await until('its shards are gone', () => !shards.some(isAlive));
    await until('its clients see the cut', () => lost.every(({ closed }) => closed !== undefined));
    t.diagnostic(`shards and clients ended within ${Math.round(performance.now() - killed)} ms`);
    assert.deepEqual([...new Set(lost.map(({ closed }) => closed))], [1006]);
    assert.ok(await isFree(victim.port), 'the port is free again');
    assert.ok(await isFree(victim.adminPort), 'the admin port is free again');

    await victim.start();
    const back = await connect(victim);
    await until('those who came back get items', () => back.every(({ received }) => received > 20));
    pushing = false;
    await load;
    await ledger.settle(t, kept);
    assert.ok(kept.every((connection) => connection.closed === undefined && connection.told() === 0));
    cutAll([...kept, ...back]);
  });
});

async function connect({ port }: GatewayProcess): Promise<Connection[]> {
  const connections = await Promise.all(
    WIRE_FORMS.flatMap((form) => Array.from({ length: PER_FORM }, () => Connection.open({ port, form }))),
  );
  await Promise.all(connections.map((connection) => connection.join('r')));
  return connections;
}
