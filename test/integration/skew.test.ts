import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it, type TestContext } from 'node:test';
import { PushClient } from '@pushcluster/client/pushClient.ts';
import type { Stream } from '@pushcluster/client/stream.ts';
import { z } from 'zod';
import { Baseline } from '../harness/baseline.ts';
import { Connection, cutAll, WIRE_FORMS } from '../harness/connection.ts';
import { Ledger, type Place } from '../harness/ledger.ts';
import { type NatsServer, startNatsServer } from '../harness/natsServer.ts';
import {
  type GatewayProcess,
  type LogicProcess,
  type ProcessOptions,
  startGateway,
  startLogic,
} from '../harness/processes.ts';
import { redirectedSocket } from '../harness/redirectedSocket.ts';
import { until } from '../harness/until.ts';

const ROOMS = ['r0', 'r1', '房间 🎈'];
const PLACES: Place[] = [...ROOMS.map((room) => ({ room })), { all: true }];
/** Pushes of each writer. */
const PUSHES = 60;

let nats: NatsServer;
let baseline: Baseline;
/** A gateway and a logic process of the baseline, and of this version, on one NATS. */
let gateways: { old: GatewayProcess; new: GatewayProcess };
let logics: { old: LogicProcess; new: LogicProcess };

before(async () => {
  baseline = new Baseline();
  nats = await startNatsServer();
  const common: ProcessOptions = { nats: [nats.url], byOperator: true };
  const old = { ...common, installed: baseline.installed };
  const [oldGateway, newGateway] = await Promise.all([
    startGateway({ ...old, settings: gatewaySettings('old') }),
    startGateway({ ...common, settings: gatewaySettings('new') }),
  ]);
  const [oldLogic, newLogic] = await Promise.all([startLogic(old), startLogic(common)]);
  gateways = { old: oldGateway, new: newGateway };
  logics = { old: oldLogic, new: newLogic };
});
after(async () => {
  for (const each of [gateways?.old, gateways?.new, logics?.old, logics?.new]) await each?.stop();
  await nats?.stop();
  baseline?.remove();
});

const folder = mkdtempSync(join(tmpdir(), 'pushcluster-skew-'));
after(() => rmSync(folder, { recursive: true }));

type Version = 'old' | 'new';
const drainFile = (version: Version) => join(folder, version);

function gatewaySettings(version: Version): NonNullable<ProcessOptions['settings']> {
  writeFileSync(drainFile(version), '');
  return {
    gateway: {
      shards: 2,
      // A busy machine is no reason to replace a shard that starts.
      shardWatch: { hangTimeout: 120_000 },
      batching: { maxDelay: 100 },
      drain: { settle: 0, timeout: 60_000, file: drainFile(version) },
    },
  };
}

/** Tells a gateway to move its connections away, as the operator does, or to keep them. */
function order(version: Version, isDraining: boolean): Promise<void> {
  writeFileSync(drainFile(version), isDraining ? new Date().toISOString() : '');
  return until('the gateway has followed', async () => (await gateways[version].status()).draining === isDraining);
}

const ignored = async (gateway: GatewayProcess) =>
  (await gateway.metrics()).sum('pushcluster_gateway_bus_messages_ignored_total');

describe('gateways and logic of the baseline and of this version, on one NATS', () => {
  it('bring every item of either logic to the clients of either gateway, once and in order', async (t) => {
    const connections: Connection[] = [];
    for (const { port } of [gateways.old, gateways.new])
      for (const form of WIRE_FORMS)
        for (const room of ROOMS) {
          const connection = await Connection.open({ port, form });
          connections.push(connection);
          await connection.join(room);
        }
    const ledger = new Ledger();
    const writers = Object.entries(logics).flatMap(([version, logic]) =>
      PLACES.map((place, i) => ledger.writer(`${version}-${i}`, place, logic)),
    );
    await Promise.all(
      writers.map(async (writer) => {
        for (let i = 0; i < PUSHES; i++) assert.equal((await writer.push(1 + (i % 3))).status, 202);
      }),
    );
    await ledger.settle(t, connections);
    assert.equal(connections.filter((connection) => connection.told() > 0).length, 0, 'nothing was lost');
    cutAll(connections);
  });

  it('answer questions about who is online', async () => {
    const connections = await Promise.all(
      [gateways.old, gateways.new].map(({ port }) => Connection.open({ port, form: 'v1' })),
    );
    for (const connection of connections) await connection.join('asked');
    for (const logic of [logics.old, logics.new])
      await until('both gateways are counted', async () => {
        const response = await fetch(`http://127.0.0.1:${logic.port}/v1/rooms/asked`);
        const { connections: count, gateways } = Room.parse(await response.json());
        return count === 2 && gateways.answered === 2;
      });
    cutAll(connections);
  });

  it('understand each other without a message that they ignore', async () => {
    assert.equal(await ignored(gateways.new), 0);
    assert.equal(await ignored(gateways.old), 0);
  });

  it('report a status that the operator of either version reads', async () => {
    const OldStatus = await baseline.load('protocol/podStatus.ts', z.object({ PodStatus: z.custom<z.ZodType>() }));
    for (const each of [gateways.old, gateways.new, logics.old, logics.new]) {
      const status = await each.status();
      assert.equal(status.settings.ignored, undefined);
      const response = await fetch(`http://127.0.0.1:${each.adminPort}/status`);
      assert.equal(OldStatus.PodStatus.safeParse(await response.json()).success, true);
    }
  });
});

describe('the SDK', () => {
  const Sdk = z.object({ PushClient: z.custom<typeof PushClient>((value) => typeof value === 'function') });

  for (const version of ['old', 'new'] as const)
    it(`of the ${version} version moves from a gateway of either to the other without missing an item`, async (t) => {
      const { PushClient: Client } =
        version === 'new' ? { PushClient } : await baseline.load('client/pushClient.ts', Sdk);
      for (const [from, to] of [
        ['old', 'new'],
        ['new', 'old'],
      ] as const)
        await move(t, Client, from, to, `sdk-${version}-${from}`);
    });

  /** One client whose gateway asks it to move to the other, while both logic processes push to its room. */
  async function move(
    t: TestContext,
    Client: typeof PushClient,
    from: Version,
    to: Version,
    room: string,
  ): Promise<void> {
    let { port } = gateways[from];
    const client = new Client('ws://balancer/connect', {
      WebSocket: redirectedSocket(() => `127.0.0.1:${port}`),
    });
    t.after(() => client.close());
    const got: string[] = [];
    let moved = 0;
    client.on('moved', () => moved++);
    const stream: Stream = client.join(room);
    stream.on('item', (item) => got.push(String(item)));
    await until('it has joined', async () => {
      await logics.new.push({ room }, ['"begin"']);
      return got.includes('begin');
    });
    let pushed = 0;
    const push = async () => {
      for (const logic of [logics.old, logics.new]) {
        assert.equal((await logic.push({ room }, [`"${pushed}"`])).status, 202);
        pushed++;
      }
    };
    await push();
    ({ port } = gateways[to]);
    await order(from, true);
    await until('it has moved', async () => {
      await push();
      return moved > 0;
    });
    await order(from, false);
    await push();
    await until('everything has come', () => got.filter((item) => item !== 'begin').length >= pushed);
    const numbers = got.filter((item) => item !== 'begin').map(Number);
    assert.deepEqual(
      numbers.filter((n) => n % 2 === 0),
      Array.from({ length: pushed / 2 }, (_, i) => 2 * i),
    );
    assert.equal(new Set(numbers).size, pushed, 'nothing came twice');
  }
});

const Room = z.object({ connections: z.number(), gateways: z.object({ answered: z.number() }) });
