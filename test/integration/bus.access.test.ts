import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it, type TestContext } from 'node:test';
import { Settings } from '@pushcluster/protocol/settings.ts';
import { Subjects } from '@pushcluster/protocol/subjects.ts';
import { type Bus, BusUnconfirmed } from '@pushcluster/runtime/bus/bus.ts';
import { LocalBus } from '@pushcluster/runtime/bus/localBus.ts';
import { openBus } from '@pushcluster/runtime/bus/openBus.ts';
import { type Authority, type Certificate, createAuthority } from '../harness/certificates.ts';
import { Lateness } from '../harness/lateness.ts';
import { logLines } from '../harness/logLines.ts';
import { createNkey, createOperatorMode } from '../harness/natsAccounts.ts';
import { type NatsServerOptions, startNatsServer } from '../harness/natsServer.ts';
import { PATIENCE_MS, until } from '../harness/until.ts';

let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pushcluster-bus-'));
});
after(() => rm(folder, { recursive: true, force: true }));

async function file(name: string, content: string): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, content);
  return path;
}

/**
 * Opens a bus as a process does, from the text of its settings. It gives up no server that a busy machine makes slow.
 * @param receiptTimeout milliseconds
 */
function open(t: TestContext, nats: object | undefined, receiptTimeout = PATIENCE_MS) {
  const { log, lines, has } = logLines();
  const { bus: settings } = Settings.parse({
    bus: nats === undefined ? {} : { nats: { pingInterval: '60s', ...nats } },
  });
  const bus = openBus(settings, { log, name: t.name, receiptTimeout });
  t.after(() => bus.close());
  return { bus, lines, has };
}

async function server(t: TestContext, options: NatsServerOptions) {
  const started = await startNatsServer(options);
  t.after(() => started.stop());
  return started;
}

async function worksOn(bus: Bus): Promise<void> {
  await until('the bus is connected', () => bus.connected);
  let got = 0;
  await bus.subscribe('there.and.back', () => got++).ready;
  bus.publish('there.and.back', new Uint8Array(3));
  await until('a message came back', () => got === 1);
}

describe('openBus', () => {
  it('opens the in-process bus without nats', async (t) => {
    const { bus } = open(t, undefined);
    assert.ok(bus instanceof LocalBus);
    assert.equal(bus.connected, true);
  });

  it('returns at once while the server is away', (t) => {
    const { bus } = open(t, { servers: ['nats://127.0.0.1:1'] });
    assert.equal(bus.connected, false);
    assert.equal(bus.maxPayload, 1_048_576);
  });

  const servers = ['nats://127.0.0.1:1'];
  const refused: [what: string, nats: object, says: RegExp][] = [
    ['a missing file', { servers, tokenFile: '/nowhere/token' }, /bus\.nats\.tokenFile: cannot read \/nowhere\/token/],
    ['a missing CA', { servers, tls: { caFile: '/nowhere/ca' } }, /bus\.nats\.tls\.caFile: cannot read/],
    ['a password without a user', { servers, passwordFile: '/x' }, /passwordFile needs bus\.nats\.user/],
    ['a certificate without a key', { servers, tls: { certFile: '/etc/hostname' } }, /both certFile and keyFile/],
    ['an NKey that is none', { servers, nkeyFile: '/etc/hostname' }, /bus\.nats\.nkeyFile is not an NKey seed/],
    ['creds that are none', { servers, credsFile: '/etc/hostname' }, /bus\.nats\.credsFile is not a \.creds file/],
    ['a web address', { servers: ['http://127.0.0.1:1'] }, /"http:\/\/127\.0\.0\.1:1" has the scheme http/],
    ['no address', { servers: ['nats://a b'] }, /is not an address/],
    ['credentials in an address', { servers: ['nats://u:p@127.0.0.1'] }, /credentials don't belong in an address/],
  ];
  for (const [what, nats, says] of refused)
    it(`refuses ${what} with a sentence`, (t) => {
      assert.throws(() => open(t, nats), says);
    });

  it('refuses an empty password file', async (t) => {
    const passwordFile = await file('empty', '\n');
    assert.throws(() => open(t, { servers, user: 'u', passwordFile }), /bus\.nats\.passwordFile is an empty file/);
  });
});

describe('a NATS bus shows its credentials:', () => {
  it('user and password', async (t) => {
    const { url } = await server(t, { config: 'authorization { user: gw, password: "s3 cret" }' });
    const passwordFile = await file('password', 's3 cret\n');
    await worksOn(open(t, { servers: [url], user: 'gw', passwordFile }).bus);
  });

  it('a token', async (t) => {
    const { url } = await server(t, { config: 'authorization { token: "t0ken" }' });
    await worksOn(open(t, { servers: [url], tokenFile: await file('token', 't0ken\n') }).bus);
  });

  it('an NKey', async (t) => {
    const { publicKey, seed } = createNkey();
    const { url } = await server(t, { config: `authorization { users: [ { nkey: ${publicKey} } ] }` });
    await worksOn(open(t, { servers: [url], nkeyFile: await file('nkey', `${seed}\n`) }).bus);
  });

  it('a .creds file', async (t) => {
    const { config, creds } = createOperatorMode();
    const { url } = await server(t, { config });
    await worksOn(open(t, { servers: [url], credsFile: await file('user.creds', creds()) }).bus);
  });

  it('wrong ones are refused, with a log line that names them and not their secret', async (t) => {
    const { url } = await server(t, { config: 'authorization { user: gw, password: right }' });
    const passwordFile = await file('wrong', 'wr0ng');
    const { bus, has } = open(t, { servers: [url], user: 'gw', passwordFile });
    await until('it is logged', () => has(`refuses our credentials (user gw, passwordFile ${passwordFile})`));
    assert.equal(bus.connected, false);
    assert.ok(!has('wr0ng'));
  });

  it('a password that is changed is read afresh, without a restart', async (t) => {
    const nats = await server(t, { config: 'authorization { user: gw, password: old }' });
    const passwordFile = await file('rotated', 'old');
    const { bus, has } = open(t, { servers: [nats.url], user: 'gw', passwordFile });
    await worksOn(bus);
    await nats.reload('authorization { user: gw, password: new }');
    await until('the old one is refused', () => has('refuses our credentials'));
    await file('rotated', 'new');
    await worksOn(bus);
  });

  it('each of several passwords or tokens, so that they can be rotated on all servers one after the other', async (t) => {
    const servers = await Promise.all(
      ['old', 'new'].map((password) => server(t, { config: `authorization { user: gw, password: ${password} }` })),
    );
    const passwordFile = await file('both', '\n old \r\nnew\n\n');
    for (const { url } of servers) await worksOn(open(t, { servers: [url], user: 'gw', passwordFile }).bus);
    const { url } = await server(t, { config: 'authorization { token: "t0ken" }' });
    await worksOn(open(t, { servers: [url], tokenFile: await file('tokens', 'other\nt0ken') }).bus);
  });

  it('first the password that was accepted last, and another one only if that is refused', async (t) => {
    const nats = await server(t, { config: 'authorization { user: gw, password: new }' });
    const passwordFile = await file('order', 'old\nnew');
    const { bus, has } = open(t, { servers: [nats.url], user: 'gw', passwordFile });
    await worksOn(bus);
    const refusals = () => nats.output.split('authentication error').length - 1;
    assert.equal(refusals(), 1);
    const again = new Promise<void>((resolve) => {
      bus.onEvent(({ type }) => type === 'connected' && resolve());
    });
    await nats.restart();
    await again;
    assert.equal(refusals(), 0);
    assert.ok(!has('refuses our credentials'));
  });

  it('refuses a file with more passwords than a rotation needs', async (t) => {
    const passwordFile = await file('many', 'a\nb\nc\nd\ne');
    assert.throws(
      () => open(t, { servers: ['nats://127.0.0.1:1'], user: 'u', passwordFile }),
      /bus\.nats\.passwordFile has 5 lines; at most 4 are allowed/,
    );
  });

  it('a password whose file becomes useless stays in use, and that is logged', async (t) => {
    const nats = await server(t, { config: 'authorization { user: gw, password: old }' });
    const passwordFile = await file('blank', 'old');
    const { bus, has } = open(t, { servers: [nats.url], user: 'gw', passwordFile });
    await worksOn(bus);
    await file('blank', '\uFEFF\n \r\n\n');
    await nats.reload('authorization { user: gw, password: new }');
    await until('it is logged', () =>
      has('passwordFile is an empty file: put the secret in it: the last value stays in use'),
    );
    await nats.reload('authorization { user: gw, password: old }');
    await worksOn(bus);
  });
});

describe('a NATS bus over TLS', () => {
  let authority: Authority;
  let stranger: Authority;
  let certificate: Certificate;
  before(async () => {
    [authority, stranger] = await Promise.all([createAuthority(), createAuthority('a stranger')]);
    certificate = await authority.issue('DNS:localhost,IP:127.0.0.1');
  });
  after(() => Promise.all([authority.remove(), stranger.remove()]));

  it('trusts the authority that it is given, by name and by address', async (t) => {
    const { port } = await server(t, { tls: certificate });
    const tls = { caFile: authority.caFile };
    await worksOn(open(t, { servers: [`tls://localhost:${port}`], tls }).bus);
    await worksOn(open(t, { servers: [`tls://127.0.0.1:${port}`], tls }).bus);
  });

  it('refuses a certificate of another authority, with a clear log line', async (t) => {
    const { port } = await server(t, { tls: certificate });
    const { bus, has } = open(t, { servers: [`tls://localhost:${port}`], tls: { caFile: stranger.caFile } });
    await until('it is logged', () =>
      has(`certificate is not signed by an authority of bus.nats.tls.caFile ${stranger.caFile}`),
    );
    assert.equal(bus.connected, false);
  });

  it('refuses a certificate for another host', async (t) => {
    const { port } = await server(t, { tls: await authority.issue('DNS:elsewhere.example,IP:127.0.0.9') });
    for (const host of ['localhost', '127.0.0.1']) {
      const { bus, has } = open(t, { servers: [`tls://${host}:${port}`], tls: { caFile: authority.caFile } });
      await until('it is logged', () => has("the server's certificate is for another name"));
      assert.equal(bus.connected, false);
    }
  });

  it('never speaks plainly where tls is asked for', async (t) => {
    const { port } = await server(t, {});
    for (const nats of [{ servers: [`tls://127.0.0.1:${port}`] }, { servers: [`127.0.0.1:${port}`], tls: {} }]) {
      const { bus, has } = open(t, nats);
      await until('it is logged', () => has('TLS is asked for, and the server offers none'));
      assert.equal(bus.connected, false);
    }
  });

  it('is not used with an address that does not ask for it, where the server accepts both', async (t) => {
    const { port } = await server(t, { tls: certificate, config: 'allow_non_tls: true' });
    await worksOn(open(t, { servers: [`nats://localhost:${port}`] }).bus);
    await worksOn(open(t, { servers: [`tls://localhost:${port}`], tls: { caFile: authority.caFile } }).bus);
  });

  it('is used with such an address where the server demands it', async (t) => {
    const { port } = await server(t, { tls: certificate });
    const { has } = open(t, { servers: [`nats://localhost:${port}`] });
    await until('it is logged', () => has("is not signed by an authority of Node's own list"));
  });

  it('shows its own certificate, and without one is refused', async (t) => {
    const { port } = await server(t, { tls: { ...certificate, caFile: authority.caFile } });
    const servers = [`tls://localhost:${port}`];
    const own = await authority.issue('DNS:gateway');
    const known = open(t, { servers, tls: { caFile: authority.caFile, ...own } }).bus;
    await worksOn(known);
    const { validTo } = new X509Certificate(readFileSync(own.certFile));
    assert.equal(known.certificate?.ends, Date.parse(validTo) / 1_000);
    const { bus, has } = open(t, { servers, tls: { caFile: authority.caFile } });
    await until('it is logged', () => has('cannot connect to NATS'));
    assert.equal(bus.connected, false);
  });

  it('comes back over TLS after a kill', async (t) => {
    const nats = await server(t, { tls: certificate });
    const { bus } = open(t, { servers: [`tls://localhost:${nats.port}`], tls: { caFile: authority.caFile } });
    await worksOn(bus);
    await nats.kill();
    await until('it has noticed', () => !bus.connected);
    await nats.restart();
    await worksOn(bus);
  });

  it('rejects receipts in time when the server hangs', async (t) => {
    const nats = await server(t, { tls: certificate });
    const settings = { servers: [`tls://localhost:${nats.port}`], tls: { caFile: authority.caFile } };
    const { bus } = open(t, settings, 1_000);
    await worksOn(bus);
    await nats.pause();
    const begun = performance.now();
    const lateness = Lateness.during(t);
    for (let i = 0; i < 20; i++) bus.publish('push', new Uint8Array(1_000_000));
    await assert.rejects(bus.flush(), BusUnconfirmed);
    assert.ok(performance.now() - begun < 10_000 + lateness.total);
    assert.equal(bus.connected, false);
    nats.resume();
    await worksOn(bus);
  });
});

describe('NATS permissions by role', () => {
  const subjects = new Subjects('live');
  const { gateway, logic } = subjects.permissions;
  const config = `authorization { users: [
    { user: gateway, password: g, permissions: ${JSON.stringify(gateway)} }
    { user: logic, password: l, permissions: ${JSON.stringify(logic)} }
  ] }`;

  async function roles(t: TestContext) {
    const { url } = await server(t, { config });
    const role = async (user: string) =>
      open(t, { servers: [url], user, passwordFile: await file(`${user}.password`, user.charAt(0)) });
    return { gateway: await role('gateway'), logic: await role('logic') };
  }

  it('let each do its own work', async (t) => {
    const { gateway, logic } = await roles(t);
    const got: string[] = [];
    const listen = (bus: Bus, subject: string) => bus.subscribe(subject, (_bytes, at) => got.push(at)).ready;
    await Promise.all([
      listen(gateway.bus, subjects.all),
      listen(gateway.bus, subjects.room('r')),
      listen(gateway.bus, subjects.command),
      listen(gateway.bus, subjects.everyStat),
      listen(logic.bus, subjects.everyStat),
      listen(logic.bus, subjects.reply('a')),
    ]);
    for (const subject of [subjects.all, subjects.room('r'), subjects.command])
      logic.bus.publish(subject, new Uint8Array(1));
    for (const subject of [subjects.stat('g'), subjects.reply('a')]) gateway.bus.publish(subject, new Uint8Array(1));
    await Promise.all([logic.bus.flush(), gateway.bus.flush()]);
    await until('all arrived', () => got.length === 6);
  });

  it('refuse a gateway that publishes a push: its receipt says so, once in the log', async (t) => {
    const { gateway, logic } = await roles(t);
    await gateway.bus.subscribe(subjects.all, () => assert.fail('a gateway published a push')).ready;
    for (let i = 0; i < 3; i++) {
      gateway.bus.publish(subjects.all, new Uint8Array(1));
      await assert.rejects(gateway.bus.flush(), {
        name: 'BusUnconfirmed',
        message: /refuses a publish on live\.out\.all/,
      });
    }
    assert.equal(gateway.lines.filter((line) => line.msg.includes('does not permit')).length, 1);
    gateway.bus.publish(subjects.stat('g'), new Uint8Array(1));
    await gateway.bus.flush();
    assert.equal(gateway.bus.connected, true);
    await until('logic is connected', () => logic.bus.connected);
  });

  it('refuse a subscription: it is never ready, and others are', async (t) => {
    const { logic } = await roles(t);
    let ready = false;
    const refused = logic.bus.subscribe(subjects.all, () => {});
    void refused.ready.then(() => {
      ready = true;
    });
    await logic.bus.subscribe(subjects.everyStat, () => {}).ready;
    await until('it is logged', () => logic.has('does not permit this process the subscription'));
    await logic.bus.flush();
    assert.equal(ready, false);
    refused.unsubscribe();
    await refused.ready;
  });
});
