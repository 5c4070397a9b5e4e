import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { after, before, describe, it, type TestContext } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { type Authority, createAuthority } from '../harness/certificates.ts';
import { Connection, cutAll } from '../harness/connection.ts';
import { type NatsServer, startNatsServer } from '../harness/natsServer.ts';
import { type GatewayProcess, type LogicProcess, startGateway, startLogic } from '../harness/processes.ts';
import { upgradeRequest } from '../harness/rawWebSocket.ts';
import type { SettingsInput } from '../harness/settingsFolder.ts';
import { until } from '../harness/until.ts';

const SIGNATURE = Buffer.from('0d0a0d0a000d0a515549540a', 'hex');
const PROXY = 0x21;
const LOCAL = 0x20;
const PORTS = [0x30, 0x39, 0x1e, 0x61];
/** What an AWS NLB adds to reach 84 bytes: a VPC endpoint, a checksum, and nothing. */
const TLVS = Buffer.concat([Buffer.from([0xea, 0, 5, 1, 1, 2, 3, 4, 3, 0, 4, 1, 2, 3, 4, 4, 0, 38]), Buffer.alloc(38)]);

const UPGRADE = upgradeRequest('/connect');

let nats: NatsServer;
let logic: LogicProcess;
let authority: Authority;

before(async () => {
  nats = await startNatsServer();
  logic = await startLogic({ nats: [nats.url] });
  authority = await createAuthority();
});
after(async () => {
  await logic.stop();
  await nats.stop();
  await authority.remove();
});

describe('behind a balancer that sends the PROXY protocol', () => {
  it('the client is who the header names, whatever else is in it', async (t) => {
    const gateway = await start(t, { connections: { perIp: 1 } });
    const rows: [what: string, ...headers: Buffer[]][] = [
      ['IPv4', v2(PROXY, 0x11, ipv4(1)), v1('TCP4 192.0.2.1 127.0.0.1 1 2')],
      ['TLVs', v2(PROXY, 0x11, ipv4(2), TLVS), v2(PROXY, 0x11, ipv4(2), Buffer.alloc(25))],
      ['the longest', v2(PROXY, 0x11, ipv4(3), Buffer.alloc(65_523)), v2(PROXY, 0x11, ipv4(3))],
      ['IPv6', v2(PROXY, 0x21, ipv6('1')), v2(PROXY, 0x21, ipv6('1'), TLVS)],
      ['IPv6 in text', v1('TCP6 2001:DB8:0:2::A ::1 1 2'), v2(PROXY, 0x21, ipv6('2'))],
      [
        'IPv4 in IPv6',
        v2(PROXY, 0x21, Buffer.from('00000000000000000000ffffc0000204'.padEnd(72, '0'), 'hex')),
        v2(PROXY, 0x11, ipv4(4)),
      ],
    ];
    for (const [what, ...headers] of rows) {
      assert.equal(await status(t, gateway, [headers[0]!, UPGRADE]), '101', what);
      for (const header of headers) assert.equal(await status(t, gateway, [header, UPGRADE]), '429', what);
    }
    // Written in pieces of any size, the request in the same piece or not.
    const whole = Buffer.concat([v2(PROXY, 0x11, ipv4(9), TLVS), Buffer.from(UPGRADE)]);
    assert.equal(await status(t, gateway, [whole]), '101');
    for (const size of [1, 7, 50, 85])
      assert.equal(await status(t, gateway, pieces(whole, size)), '429', `${size} bytes`);
  });

  it('the balancer’s own connections and those without an IP address are the peer’s', async (t) => {
    const gateway = await start(t, { connections: { perIp: 1 } });
    const own = [
      v2(LOCAL, 0x00),
      v2(LOCAL, 0x11, ipv4(1)),
      v2(LOCAL, 0x00, TLVS),
      v2(PROXY, 0x00),
      v2(PROXY, 0x00, ipv4(1)),
      v2(PROXY, 0x31, Buffer.alloc(216, 1)),
      v1('UNKNOWN'),
      v1('UNKNOWN ::1 ::2 3 4'),
    ];
    for (const [i, header] of own.entries()) {
      const from = `127.0.0.${i + 10}`;
      assert.equal(await status(t, gateway, [header, UPGRADE], from), '101', `${i}`);
      for (const other of own) assert.equal(await status(t, gateway, [other, UPGRADE], from), '429', `${i}`);
    }
    assert.equal(await status(t, gateway, [v2(PROXY, 0x11, ipv4(1)), UPGRADE]), '101');
  });

  it('only the first bytes of a connection are a header', async (t) => {
    const gateway = await start(t, { connections: { perIp: 1 } });
    const mine = v2(PROXY, 0x11, ipv4(1));
    const forged = v2(PROXY, 0x11, ipv4(66));
    assert.equal(await status(t, gateway, [mine, UPGRADE]), '101');
    const get = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';
    for (const parts of [
      [mine, forged, UPGRADE],
      [Buffer.concat([mine, forged, Buffer.from(UPGRADE)])],
      [Buffer.concat([mine, Buffer.from(get), forged, Buffer.from(UPGRADE)])],
      [mine, get, forged, UPGRADE],
    ])
      assert.notEqual(await status(t, gateway, parts), '101');
    assert.equal(await status(t, gateway, [forged, UPGRADE]), '101', 'nobody has come from there yet');
  });

  it('a connection without a right header is cut and counted', async (t) => {
    const gateway = await start(t);
    const wrong = [
      [UPGRADE],
      ['\x16\x03\x01\x02'],
      [v2(0x31, 0x11, ipv4(1))],
      [v2(0x22, 0x11, ipv4(1))],
      [v2(PROXY, 0x11, ipv4(1).subarray(0, 8))],
      ['PROXY TCP4 192.0.2.1\r\n', UPGRADE],
      [`PROXY UNKNOWN ${'x'.repeat(200)}`],
    ];
    for (const parts of wrong) assert.equal(await status(t, gateway, parts), 'cut');
    // Nothing, and one that goes on and on.
    const began = performance.now();
    const silent = [await dial(t, gateway), await dial(t, gateway)];
    silent[1]!.write(v2(PROXY, 0x11, ipv4(1), TLVS).subarray(0, 40));
    await until('they are cut', () => silent.every(({ destroyed }) => destroyed));
    assert.ok(performance.now() - began > 4_000);
    // A health check of a balancer that connects and says nothing is no fault.
    (await dial(t, gateway)).end();
    await until('each is counted', async () => (await refusedFor(gateway)) === wrong.length + silent.length);
    assert.equal(await status(t, gateway, [v2(PROXY, 0x11, ipv4(1)), UPGRADE]), '101');
  });

  it('nobody gets past the header by the port that the engine has behind it', async (t) => {
    const gateway = await start(t, { shards: 1 });
    const ports = listenersOf(gateway.shardPids[0]!).filter((port) => port !== gateway.port);
    assert.equal(ports.length, 1);
    for (const parts of [[UPGRADE], [v2(PROXY, 0x11, ipv4(1)), UPGRADE]])
      assert.equal(await status(t, { port: ports[0]! }, parts), 'cut');
  });

  it('what is pushed arrives, and what ends at one side ends at the other', async (t) => {
    const gateway = await start(t, { shards: 2, batching: { maxDelay: 0 } });
    const open = () => Connection.open({ port: gateway.port, form: 'v1', ahead: v2(PROXY, 0x11, ipv4(1), TLVS) });
    const connections = await Promise.all(Array.from({ length: 20 }, open));
    t.after(() => cutAll(connections));
    await Promise.all(connections.map((connection) => connection.join('r')));
    const item = JSON.stringify('x'.repeat(30_000));
    // No more at once than a connection's buffer takes, so that nobody is slow who shares the processor with the gateway.
    for (let i = 1; i <= 20; i++) {
      assert.equal((await logic.push({ room: 'r' }, [item, item])).status, 202);
      await until('everyone has everything', () => connections.every(({ received }) => received === 2 * i));
    }
    await gateway.holds(20);
    const [first, second, ...others] = connections;
    first!.close();
    assert.equal((await first!.ended()).code, 1000);
    second!.cut();
    await gateway.holds(18);
    await until('descriptors are counted as they are, three for each connection', async () => {
      const { fds } = await gateway.status();
      return Math.abs(fds.open - fdsOf(gateway)) < 18;
    });
    await gateway.stop();
    for (const connection of others) assert.equal((await connection.ended()).code, 1012);
  });

  it('TLS begins after the header', async (t) => {
    const { certFile, keyFile } = await authority.issue('IP:127.0.0.1');
    const gateway = await start(t, { connections: { perIp: 1 }, tls: { certFile, keyFile } });
    const header = v2(PROXY, 0x11, ipv4(1), TLVS);
    const secure = async () => {
      const socket = await dial(t, gateway);
      socket.write(header);
      const tls = connectTls({ socket, ca: readFileSync(authority.caFile), host: '127.0.0.1' });
      tls.on('error', () => {});
      await once(tls, 'secureConnect');
      tls.write(UPGRADE);
      return statusOf(tls);
    };
    assert.equal(await secure(), '101');
    assert.equal(await secure(), '429');
  });
});

async function start(t: TestContext, gateway: SettingsInput['gateway'] = {}): Promise<GatewayProcess> {
  const started = await startGateway({
    settings: { gateway: { shards: 2, proxyProtocol: true, ...gateway } },
    nats: [nats.url],
  });
  t.after(() => started.stop());
  return started;
}

function v2(versionAndCommand: number, familyAndTransport: number, ...body: Uint8Array[]): Buffer {
  const rest = Buffer.concat(body);
  const head = Buffer.from([versionAndCommand, familyAndTransport, rest.length >> 8, rest.length & 255]);
  return Buffer.concat([SIGNATURE, head, rest]);
}

const v1 = (line: string) => Buffer.from(`PROXY ${line}\r\n`);
const ipv4 = (last: number) => Buffer.from([192, 0, 2, last, 127, 0, 0, 1, ...PORTS]);
const ipv6 = (network: string) =>
  Buffer.from(`20010db80000000${network}000000000000000a`.padEnd(64, '0') + Buffer.from(PORTS).toString('hex'), 'hex');

function pieces(bytes: Buffer, size: number): Buffer[] {
  return Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) => bytes.subarray(i * size, (i + 1) * size));
}

async function dial(t: TestContext, { port }: { port: number }, localAddress = '127.0.0.1'): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1', localAddress, noDelay: true });
  socket.on('error', () => {});
  t.after(() => socket.destroy());
  await once(socket, 'connect');
  return socket;
}

/** The status of the last answer to these bytes, each part in a packet of its own; `cut` where there is none. */
async function status(
  t: TestContext,
  to: { port: number },
  parts: readonly (Uint8Array | string)[],
  from?: string,
): Promise<string> {
  const socket = await dial(t, to, from);
  const answer = statusOf(socket);
  for (const part of parts) {
    if (socket.destroyed) break;
    await new Promise<void>((resolve) => socket.write(part, () => setImmediate(resolve)));
  }
  return answer;
}

/** Resolves with an upgrade, or when the connection ends: a refusal ends it. */
async function statusOf(socket: Socket): Promise<string> {
  let text = '';
  socket.on('data', (bytes: Buffer) => {
    text += bytes.toString('latin1');
  });
  let isOver = false;
  socket.once('close', () => {
    isOver = true;
  });
  const last = () => [...text.matchAll(/HTTP\/1\.1 (\d{3}) /g)].at(-1)?.[1];
  await until('it is answered', () => isOver || last() === '101');
  return last() ?? 'cut';
}

async function refusedFor(gateway: GatewayProcess): Promise<number> {
  return (await gateway.metrics()).sum('pushcluster_gateway_refused_total', { reason: 'proxy_header' });
}

/** Descriptors that the shards really have open. */
function fdsOf(gateway: GatewayProcess): number {
  return gateway.shardPids.reduce((sum, pid) => sum + readdirSync(`/proc/${pid}/fd`).length, 0);
}

/** Ports of TCP on which a process listens. */
function listenersOf(pid: number): number[] {
  const links = readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`));
  const inodes = new Set(links.flatMap((link) => /^socket:\[(\d+)\]$/.exec(link)?.[1] ?? []));
  return readFileSync(`/proc/${pid}/net/tcp`, 'utf8')
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([, , , state, , , , , , inode]) => state === '0A' && inodes.has(inode ?? ''))
    .map(([, local = '']) => Number.parseInt(local.split(':')[1] ?? '', 16));
}
