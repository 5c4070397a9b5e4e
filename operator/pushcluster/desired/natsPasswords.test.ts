import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { managedNats } from './bus.ts';
import type { NatsSeen } from './context.ts';
import { clusterOf, contextOf } from './fixture.ts';
import { natsConfigHash } from './natsConfig.ts';
import { RELOAD_MS, ROTATE_ANNOTATION, rotationAgainIn, rotationIn } from './natsPasswords.ts';
import { generated, secrets } from './secrets.ts';

type Data = Record<string, string>;

const text = (data: Data | undefined, key: string) => Buffer.from(data?.[key] ?? '', 'base64').toString('utf8');
const lines = (data: Data | undefined) => text(data, 'password').split('\n');
const clusterWith = (rotate: string | undefined, replicas: 1 | 3 = 3) =>
  clusterOf(
    { nats: { managed: { replicas } } },
    { annotations: rotate === undefined ? {} : { [ROTATE_ANNOTATION]: rotate } },
  );
type Cluster = ReturnType<typeof clusterWith>;

/** A cluster of which some writes may be missing: the Secrets, the servers, and what pods have read. */
class World {
  now = 1_000_000;
  readonly secrets = new Map<string, Data>();
  /** The configuration of each server: restarted one by one. */
  servers: string[] = [];
  applied: NatsSeen['config'];
  /** The files of pods: as old as may be. */
  files = { gateway: [''], logic: [''] };
  #next = 0;

  /** One reconcile. @param isWritten whether a Secret, or the StatefulSet `servers`, is written */
  reconcile(cluster: Cluster, isWritten: (what: string) => boolean = () => true): void {
    const seen =
      this.applied === undefined ? undefined : { config: this.applied, isSettled: this.#isSettled(), now: this.now };
    const values = generated(
      cluster,
      contextOf({
        secrets: new Map(this.secrets),
        nats: seen,
        random: (bytes) => new Uint8Array(bytes).fill(++this.#next),
      }),
    );
    for (const { metadata, data = {} } of secrets(cluster, values))
      if (isWritten(metadata.name)) this.secrets.set(metadata.name, data);
    if (isWritten('servers')) {
      this.applied = natsConfigHash(cluster, managedNats(cluster)!, values);
      if (this.servers.length === 0) this.servers = Array.from({ length: 3 }, () => this.conf);
    }
  }

  get conf(): string {
    return text(this.secrets.get('live-nats-server'), 'nats.conf');
  }

  get step(): string {
    const rotation = rotationIn(this.secrets.get('live-nats-server'));
    return rotation?.step ?? 'none';
  }

  /** Restarts the next server that does not have the configuration. */
  restartOne(): void {
    const index = this.servers.findIndex((conf) => conf !== this.conf);
    if (index >= 0) this.servers[index] = this.conf;
  }

  /** Pods read their files. */
  reload(): void {
    this.files = {
      gateway: lines(this.secrets.get('live-nats-gateway')),
      logic: lines(this.secrets.get('live-nats-logic')),
    };
  }

  /** Pods have read their files, at the latest. */
  pass(ms: number): void {
    this.now += ms;
    if (ms >= RELOAD_MS) this.reload();
  }

  /** Every pod can connect to every server, and each two servers to each other. */
  check(): void {
    for (const role of ['gateway', 'logic'] as const)
      for (const conf of this.servers)
        assert.ok(
          this.files[role].some((password) => conf.includes(`"user":"${role}","password":"${password}"`)),
          `${role} is refused: ${this.files[role]} in step ${this.step}`,
        );
    if (!this.conf.includes('cluster {')) return;
    const accepts = (conf: string) => /user: routes, password: "([^"]+)"/.exec(conf)?.[1];
    const offers = (conf: string) => [...conf.matchAll(/nats:\/\/routes:([^@]+)@/g)].map(([, password]) => password);
    for (const one of this.servers)
      for (const other of this.servers)
        assert.ok(
          offers(one).includes(accepts(other)) || offers(other).includes(accepts(one)),
          `servers refuse each other in step ${this.step}`,
        );
  }

  #isSettled(): boolean {
    return this.servers.every((conf) => conf === this.conf);
  }

  /** Everything goes on until nothing changes. */
  finish(cluster: Cluster): void {
    for (let round = 0; round < 40; round++) {
      this.reconcile(cluster);
      this.check();
      this.restartOne();
      this.check();
      if (round % 4 === 3) this.pass(RELOAD_MS);
      this.check();
    }
  }
}

function started(cluster: Cluster): World {
  const world = new World();
  world.reconcile(cluster);
  world.reload();
  world.check();
  return world;
}

describe('a rotation of the passwords of NATS', () => {
  it('replaces all of them, and leaves none of the former ones', () => {
    const world = started(clusterWith(undefined));
    const before = world.conf;
    const old = ['live-nats-gateway', 'live-nats-logic'].flatMap((name) => lines(world.secrets.get(name)));
    old.push(text(world.secrets.get('live-nats-server'), 'routes-password'));
    world.finish(clusterWith('may'));
    assert.equal(world.step, 'none');
    assert.notEqual(world.conf, before);
    for (const data of world.secrets.values())
      for (const key of Object.keys(data))
        for (const password of old) assert.ok(!text(data, key).includes(password), `${key} has a former password`);
    assert.ok(world.servers.every((conf) => conf === world.conf));
  });

  it('happens once for a value of the annotation', () => {
    const world = started(clusterWith(undefined));
    world.finish(clusterWith('may'));
    const { conf } = world;
    world.finish(clusterWith('may'));
    world.finish(clusterWith(undefined));
    world.finish(clusterWith('may'));
    assert.equal(world.conf, conf);
    world.finish(clusterWith('june'));
    assert.notEqual(world.conf, conf);
  });

  it('is not needed for a new cluster, whose manifest may have the annotation', () => {
    const world = started(clusterWith('may'));
    const { conf } = world;
    world.finish(clusterWith('may'));
    assert.equal(world.conf, conf);
  });

  it('changes nothing of servers before pods had the time to read their files', () => {
    const world = started(clusterWith(undefined));
    const { conf } = world;
    for (let i = 0; i < 5; i++) world.reconcile(clusterWith('may'));
    assert.deepEqual([world.step, world.conf], ['announced', conf]);
    const kept = rotationIn(world.secrets.get('live-nats-server'));
    assert.equal(rotationAgainIn(kept, world.now), RELOAD_MS);
    world.pass(RELOAD_MS - 1);
    world.reconcile(clusterWith('may'));
    assert.equal(world.conf, conf);
    world.pass(RELOAD_MS);
    world.reconcile(clusterWith('may'));
    assert.equal(world.step, 'accepted');
  });

  it('goes on with another one if the annotation changes meanwhile', () => {
    const world = started(clusterWith(undefined));
    world.reconcile(clusterWith('may'));
    world.reconcile(clusterWith('may'));
    world.finish(clusterWith('june'));
    assert.equal(world.step, 'none');
    assert.deepEqual(rotationIn(world.secrets.get('live-nats-server')), { of: 'june' });
  });

  it('locks nobody out wherever it is interrupted, whatever was written', () => {
    const written = ['live-nats-gateway', 'live-nats-logic', 'live-nats-server', 'servers'];
    const subsets = Array.from({ length: 2 ** written.length }, (_, mask) => written.filter((_, i) => mask & (1 << i)));
    // Rounds of a whole rotation; in each, each set of writes may be all that is made.
    for (let at = 0; at < 16; at++)
      for (const only of subsets) {
        const cluster = clusterWith('may');
        const world = started(clusterWith(undefined));
        for (let round = 0; round < at; round++) {
          world.reconcile(cluster);
          world.restartOne();
          if (round % 4 === 3) world.pass(RELOAD_MS);
          world.check();
        }
        world.reconcile(cluster, (what) => only.includes(what));
        world.check();
        world.restartOne();
        world.check();
        world.finish(cluster);
        assert.equal(world.step, 'none');
        assert.ok(world.servers.every((conf) => conf === world.conf));
      }
  });

  it('goes on, without locking anybody out, where the Secret of the servers is deleted', () => {
    for (let at = 0; at < 12; at++) {
      const cluster = clusterWith('may', 1);
      const world = started(clusterWith(undefined, 1));
      for (let round = 0; round < at; round++) {
        world.reconcile(cluster);
        world.restartOne();
        if (round % 4 === 3) world.pass(RELOAD_MS);
      }
      world.secrets.delete('live-nats-server');
      world.finish(cluster);
      assert.equal(world.step, 'none');
    }
  });
});
