import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { certificatesOf, secretData } from '../certificates/certificates.ts';
import { natsTlsSecret } from './desired/bus.ts';
import type { ServersTls } from './desired/context.ts';
import { clusterOf, contextOf } from './desired/fixture.ts';
import { natsStatefulSet } from './desired/nats.ts';
import { fingerprintOfOwn, serversTlsText } from './desired/natsTls.ts';
import { natsCertificates, planTls, serversSeen, serversTlsOf, tlsAgainIn, tlsMessage } from './natsTls.ts';

const OWN = 'live-nats-tls';
const DAY_MS = 86_400_000;
const now = Date.UTC(2026, 10, 30);

/** @param secret undefined: TLS is off */
const asking = (secret: string | undefined) =>
  clusterOf({
    nats: {
      managed:
        secret === undefined ? {} : { tls: { enabled: true, ...(secret === OWN ? {} : { secretName: secret }) } },
    },
  });

/** A cluster whose servers and pods are replaced one by one. */
class World {
  applied: string | undefined;
  servers: (string | undefined)[] = [];
  isCreated = false;
  deployed: { gateway?: string | undefined; logic?: string | undefined } = {};
  pods: { role: 'gateway' | 'logic'; trusts: string | undefined }[] = [];

  plan(asked: string | undefined) {
    return planTls(asking(asked), {
      servers: this.isCreated
        ? serversSeen(
            this.applied,
            this.servers.every((each) => each === this.applied),
          )
        : undefined,
      deployed: new Set(Object.values(this.deployed)),
      running: new Set(this.pods.map(({ trusts }) => trusts)),
      isReplacing: this.pods.some(({ role, trusts }) => trusts !== this.deployed[role]),
    });
  }

  /** @param only which objects are written: servers, gateways, logic */
  reconcile(asked: string | undefined, only = 7): void {
    const { cluster, servers } = this.plan(asked);
    const text = servers && serversTlsText({ ...servers, fingerprint: 'f' });
    if (only & 1) {
      this.applied = text;
      if (!this.isCreated) this.servers = [text, text, text];
      this.isCreated = true;
    }
    for (const [bit, role] of [
      [2, 'gateway'],
      [4, 'logic'],
    ] as const) {
      if (!(only & bit)) continue;
      if (!(role in this.deployed)) this.pods.push(...[1, 2].map(() => ({ role, trusts: natsTlsSecret(cluster) })));
      this.deployed[role] = natsTlsSecret(cluster);
    }
  }

  restartServer(): void {
    const index = this.servers.findIndex((each) => each !== this.applied);
    if (index >= 0) this.servers[index] = this.applied;
  }

  replacePod(): void {
    const old = this.pods.find(({ role, trusts }) => trusts !== this.deployed[role]);
    if (old) old.trusts = this.deployed[old.role];
  }

  /** Every pod can connect to every server. */
  check(): void {
    for (const { role, trusts } of this.pods)
      for (const server of this.servers) {
        const { accepts, secretName } = serversSeen(server, true);
        const isAccepted = trusts === undefined ? accepts !== 'tls' : accepts !== 'plain' && secretName === trusts;
        assert.ok(isAccepted, `${role} with ${trusts} at a server with ${server}`);
      }
  }

  finish(asked: string | undefined): void {
    for (let i = 0; i < 60; i++) {
      this.reconcile(asked);
      this.restartServer();
      this.replacePod();
      this.check();
    }
  }
}

describe('TLS of managed NATS', () => {
  it('is there from the start in a new cluster', () => {
    const { cluster, servers, isUnderWay } = new World().plan(OWN);
    assert.equal(natsTlsSecret(cluster), OWN);
    assert.deepEqual(servers, { isOptional: false, routes: true, secretName: OWN });
    assert.equal(isUnderWay, false);
  });

  it('is turned on in steps: servers accept both, then clients use it, then nothing else is accepted', () => {
    const world = new World();
    world.finish(undefined);
    const steps: unknown[] = [];
    for (let i = 0; i < 30; i++) {
      world.reconcile(OWN);
      const step = [serversSeen(world.applied, true).accepts, world.deployed.gateway ?? 'plain'];
      if (JSON.stringify(steps.at(-1)) !== JSON.stringify(step)) steps.push(step);
      world.restartServer();
      world.check();
      world.replacePod();
      world.check();
    }
    assert.deepEqual(steps, [
      ['both', 'plain'],
      ['both', OWN],
      ['tls', OWN],
    ]);
    assert.ok(world.servers.every((each) => serversSeen(each, true).accepts === 'tls'));
  });

  it('does not restart servers because of an ordinary rollout', () => {
    const world = new World();
    world.finish(OWN);
    const seen = {
      servers: serversSeen(world.applied, true),
      deployed: new Set([OWN]),
      running: new Set([OWN]),
      isReplacing: true,
    };
    assert.deepEqual(planTls(asking(OWN), seen).servers, { isOptional: false, routes: true, secretName: OWN });
  });

  it('cuts nobody off, whatever is asked for, written and restarted in which order, and gets there in the end', () => {
    const secret = fc.constantFrom(undefined, OWN, 'issued', 'other');
    const action = fc.oneof(
      fc.record({ ask: secret }),
      fc.record({ reconcile: fc.integer({ min: 0, max: 7 }) }),
      fc.constantFrom({ restart: true }, { replace: true }),
    );
    fc.assert(
      fc.property(secret, fc.array(action, { maxLength: 60 }), (first, actions) => {
        const world = new World();
        let asked = first;
        world.finish(first);
        for (const each of actions) {
          if ('ask' in each) asked = each.ask;
          else if ('reconcile' in each) world.reconcile(asked, each.reconcile);
          else if ('restart' in each) world.restartServer();
          else world.replacePod();
          world.check();
        }
        world.finish(asked);
        assert.ok(world.pods.every(({ trusts }) => trusts === asked));
        const accepts = asked === undefined ? 'plain' : 'tls';
        assert.ok(world.servers.every((each) => serversSeen(each, true).accepts === accepts));
        assert.equal(world.plan(asked).isUnderWay, false);
      }),
      { numRuns: 500 },
    );
  });

  it('is looked at again soon during a change, then each hour, and never without', () => {
    const world = new World();
    world.finish(undefined);
    assert.equal(tlsAgainIn(world.plan(undefined)), undefined);
    assert.equal(tlsAgainIn(world.plan(OWN)), 10_000);
    assert.equal(tlsMessage(world.plan(OWN)), 'TLS of NATS is being turned on');
    world.finish(OWN);
    assert.equal(tlsAgainIn(world.plan(OWN)), 3_600_000);
    assert.equal(tlsMessage(world.plan(OWN)), undefined);
    assert.equal(tlsMessage(world.plan(undefined)), 'TLS of NATS is being turned off');
  });
});

describe('certificates of managed NATS', () => {
  const cluster = asking(OWN);
  const made = natsCertificates(cluster, undefined, now, () => false);

  it('are kept until 30 days before they end, then renewed', () => {
    const later = (days: number) => natsCertificates(cluster, secretData(made), now + days * DAY_MS, () => true);
    assert.deepEqual(later(59), made);
    assert.notEqual(later(61).serving.certificate, made.serving.certificate);
    assert.equal(later(61).bundle, made.bundle);
  });

  it('are signed by a new CA only once all servers have run with it for an hour', () => {
    const current = natsCertificates(cluster, secretData(made), now + 3_280 * DAY_MS, () => true);
    const late = now + 3_290 * DAY_MS;
    const announced = natsCertificates(cluster, secretData(current), late, () => true);
    assert.equal(certificatesOf(announced.bundle).length, 2);
    const kept = { authority: announced.authority.certificate, serving: announced.serving.certificate };
    const after = (ms: number, isRunning: boolean) =>
      natsCertificates(cluster, secretData(announced), late + ms, () => isRunning).serving.certificate;
    assert.equal(after(60_000, true), kept.serving);
    assert.equal(after(DAY_MS, false), kept.serving);
    assert.notEqual(after(DAY_MS, true), kept.serving);
  });

  const sources = { seen: undefined, own: undefined, given: undefined, now };
  const servers = { isOptional: false, routes: true, secretName: OWN };

  it('are made for the servers, which restart when they change', () => {
    const tls = serversTlsOf({ cluster, servers }, sources);
    assert.equal(tls.servers?.fingerprint, fingerprintOfOwn(tls.certificates!));
    const template = (of: ServersTls | undefined) =>
      natsStatefulSet(
        cluster,
        cluster.spec.nats.managed!,
        { apiKey: '', gateway: '', logic: '', routes: '' },
        contextOf({ natsTls: { servers: of, certificates: undefined } }),
      ).spec!.template.metadata!.annotations;
    assert.deepEqual(template(tls.servers), template({ ...tls.servers! }));
    assert.notDeepEqual(template(tls.servers), template({ ...tls.servers!, fingerprint: 'another' }));
  });

  it('stay in their Secret until no server mounts it any more', () => {
    const own = secretData(made);
    const off = { cluster: asking(undefined), servers: undefined };
    const keeps = (text: string | undefined, isSettled: boolean) =>
      serversTlsOf(off, { ...sources, own, seen: serversSeen(text, isSettled) }).certificates !== undefined;
    assert.deepEqual(
      [keeps(`optional ${OWN} f`, true), keeps(undefined, false), keeps(undefined, true)],
      [true, true, false],
    );
  });

  it('of somebody else are refused if something is missing', () => {
    const given = { ...servers, secretName: 'issued' };
    const of = (data: Record<string, string> | undefined) =>
      serversTlsOf({ cluster: asking('issued'), servers: given }, { ...sources, given: data });
    assert.throws(() => of(undefined), /nats\.managed\.tls\.secretName: Secret issued does not exist/);
    assert.throws(() => of({ 'tls.crt': 'YQ==', 'tls.key': 'YQ==' }), /Secret issued has no ca\.crt/);
    const whole = { 'tls.crt': 'YQ==', 'tls.key': 'YQ==', 'ca.crt': 'YQ==' };
    const [one, other] = [of(whole), of({ ...whole, 'tls.crt': 'Yg==' })];
    assert.notEqual(one.servers?.fingerprint, other.servers?.fingerprint);
    assert.equal(one.certificates, undefined);
  });
});
