import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Settings } from '@pushcluster/protocol/settings.ts';
import { FakeClock } from '@pushcluster/runtime/fakeClock.ts';
import fc from 'fast-check';
import { pino } from 'pino';
import type { MoveTime } from '../ipc/move.ts';
import type { Peer } from './peers.ts';
import { Rebalancer } from './rebalancer.ts';

const STEP_MS = 100;
/** From being asked to the new connection, milliseconds. */
const LANDS_AFTER = 300;

type Landing = 'spared' | 'any' | 'back';
type Client = { moves: number };
type Sim = {
  rebalancer: Rebalancer;
  /** From the oldest on; those asked are no longer here. */
  waiting: Client[];
  /** How many of `waiting`, from the oldest on, came before the mark. */
  marked: number | undefined;
  said: Peer;
  template: string;
  draining: boolean;
};

/** Gateways that hear each other late, and clients that go where a balancer sends them. */
class Cluster {
  readonly clock = new FakeClock();
  readonly gateways: Sim[] = [];
  readonly clients: Client[] = [];
  moves = 0;
  #landing: Landing;
  #open = new Set<Sim>();
  #arrivals: { at: number; client: Client; from: Sim }[] = [];
  #changedAt = 0;
  #next = 0;
  /** What those who were asked last were told. */
  time: MoveTime | undefined;
  readonly #settings;

  constructor(landing: Landing, rebalance: object = {}, rooms: object[] = []) {
    this.#landing = landing;
    this.#settings = Settings.parse({ gateway: { rebalance }, rooms });
  }

  get counts(): number[] {
    return this.gateways.map(({ waiting }) => waiting.length);
  }

  /** The fullest gateway's connections, as times the average. */
  get worst(): number {
    return Math.max(...this.counts) / (this.clients.length / this.gateways.length);
  }

  get mostMoved(): number {
    return Math.max(...this.clients.map(({ moves }) => moves));
  }

  add(connections: number, template = 'a'): Sim {
    const said = { gateway: String(this.gateways.length), draining: false, rebalancing: false, template, unasked: 0 };
    const waiting = Array.from({ length: connections }, () => ({ moves: 0 }));
    this.clients.push(...waiting);
    const moves = {
      get connections() {
        return waiting.length;
      },
      get unasked() {
        return waiting.length;
      },
      get movable() {
        return sim.marked ?? waiting.length;
      },
      askOldestToMove: (count: number, time: MoveTime) => {
        this.time = time;
        this.#ask(sim, Math.min(count, moves.movable));
      },
      mark: (on: boolean) => {
        sim.marked = on ? waiting.length : undefined;
      },
      reportOften: () => () => {},
    };
    const cluster = this;
    const sim: Sim = {
      waiting,
      marked: undefined,
      said,
      template,
      draining: false,
      rebalancer: new Rebalancer({
        moves,
        peers: {
          get all() {
            return cluster.gateways.filter((other) => other !== sim).map((other) => other.said);
          },
          get changedAt() {
            return cluster.#changedAt;
          },
        },
        settings: () => this.#settings,
        template,
        clock: this.clock,
        blocked: () => sim.draining,
        log: pino({ level: 'silent' }),
        changed: () => this.#report(sim),
      }),
    };
    this.gateways.push(sim);
    this.#report(sim);
    this.#changedAt = this.clock.now();
    return sim;
  }

  run(seconds: number): void {
    const until = this.clock.now() + seconds * 1_000;
    while (this.clock.now() < until) {
      this.clock.advance(STEP_MS);
      const now = this.clock.now();
      const landed = this.#arrivals.filter(({ at }) => at <= now);
      this.#arrivals = this.#arrivals.filter(({ at }) => at > now);
      for (const { client, from } of landed) this.#place(from).waiting.push(client);
      // Each at another moment, and those that move twice as often.
      for (const [i, sim] of this.gateways.entries()) {
        const phase = (now / STEP_MS + 7 * i) % 20;
        if (phase === 0 || (sim.rebalancer.active && phase === 10)) this.#report(sim);
        if (phase === 3) sim.rebalancer.check();
      }
      // The operator looks at pods every 10 s.
      if (now % 10_000 === 0) this.#choose();
    }
  }

  #report(sim: Sim) {
    const { rebalancer, waiting, draining, template } = sim;
    const before = sim.said.rebalancing;
    sim.said = { ...sim.said, draining, template, rebalancing: rebalancer.active, unasked: waiting.length };
    if (sim.said.rebalancing === before) return;
    for (const other of this.gateways) if (other !== sim) other.rebalancer.check();
  }

  #ask(sim: Sim, count: number) {
    for (const client of sim.waiting.splice(0, count)) {
      client.moves++;
      this.moves++;
      this.#arrivals.push({ at: this.clock.now() + LANDS_AFTER, client, from: sim });
    }
    if (sim.marked !== undefined) sim.marked -= count;
  }

  #choose() {
    const average = this.gateways.reduce((sum, { said }) => sum + said.unasked, 0) / this.gateways.length;
    const bound = (sim: Sim) => (this.#open.has(sim) ? 1.2 : 1.1) * average;
    this.#open = new Set(this.gateways.filter((sim) => sim.said.unasked <= bound(sim)));
  }

  #place(from: Sim): Sim {
    if (this.#landing === 'back') return from;
    const open = this.#landing === 'spared' && this.#open.size > 0 ? [...this.#open] : this.gateways;
    return open[this.#next++ % open.length]!;
  }
}

describe('gateways that rebalance', () => {
  it('spread 4,000 connections from two to four within two minutes and 2,400 moves', () => {
    const cluster = new Cluster('spared');
    for (const connections of [2_000, 2_000, 0, 0]) cluster.add(connections);
    cluster.run(120);
    assert.ok(cluster.worst <= 1.25, `${cluster.counts}`);
    assert.ok(cluster.moves <= 2_400, `${cluster.moves} moves`);
    assert.ok(cluster.mostMoved <= 2);
    const { moves } = cluster;
    cluster.run(600);
    assert.equal(cluster.moves, moves, 'and rest then');
  });

  it('give time for the longest window of any room', () => {
    const cluster = new Cluster('spared', {}, [{ match: 'slow', batching: { maxDelay: '10s' } }]);
    for (const connections of [2_000, 0]) cluster.add(connections);
    cluster.run(30);
    assert.deepEqual(cluster.time, { withinMs: 30_000, overlapMs: 11_000 });
  });

  it('do so when new ones come one after the other', () => {
    const cluster = new Cluster('spared');
    for (const connections of [2_000, 2_000]) cluster.add(connections);
    cluster.run(30);
    cluster.add(0);
    cluster.run(14);
    cluster.add(0);
    cluster.run(120);
    assert.ok(cluster.worst <= 1.25, `${cluster.counts}`);
    assert.ok(cluster.moves <= 2_500, `${cluster.moves} moves`);
    assert.ok(cluster.mostMoved <= 2);
  });

  it('come near the average, however many they are and however full, and move nobody more than twice', () => {
    const property = fc.property(
      fc.array(fc.integer({ min: 300, max: 3_000 }), { minLength: 1, maxLength: 12 }),
      fc.integer({ min: 0, max: 12 }),
      (full, added) => {
        const cluster = new Cluster('spared', { minimum: 10 });
        for (const connections of full) cluster.add(connections);
        for (let i = 0; i < added; i++) cluster.add(0);
        const average = cluster.clients.length / cluster.gateways.length;
        const needed = full.reduce((sum, connections) => sum + Math.max(0, connections - average), 0);
        cluster.run(30 + needed / 100 + 240);
        assert.ok(cluster.worst <= 1.25, `${cluster.counts}`);
        // Those a little above the average are still chosen, and may have to move what they got.
        assert.ok(cluster.moves <= 2 * needed, `${cluster.moves} moves, ${needed} needed`);
        assert.ok(cluster.mostMoved <= 2, `one was moved ${cluster.mostMoved} times`);
      },
    );
    fc.assert(property, { numRuns: 25 });
  });

  it('spread them as well if full ones go on being chosen, and move nobody more than twice', () => {
    const cluster = new Cluster('any');
    for (const connections of [2_000, 2_000, 0, 0]) cluster.add(connections);
    cluster.run(300);
    assert.ok(cluster.worst <= 1.25, `${cluster.counts}`);
    assert.ok(cluster.mostMoved <= 2);
  });

  it('spare those who come while any of them moves, and for half a minute more', () => {
    const cluster = new Cluster('spared');
    for (const connections of [1_000, 300, 100]) cluster.add(connections);
    while (cluster.moves === 0) cluster.run(1);
    cluster.run(3);
    assert.ok(cluster.gateways.every(({ marked }) => marked !== undefined));
    assert.equal(cluster.gateways[1]?.marked, 300, 'those who were there, and not who came');
    cluster.run(15);
    const { moves } = cluster;
    assert.ok(cluster.counts[1]! > 300);
    cluster.run(10);
    assert.equal(cluster.moves, moves, 'all are done');
    assert.equal(cluster.gateways[1]?.marked, 300);
    cluster.run(32);
    assert.ok(cluster.gateways.every(({ marked }) => marked === undefined));
  });

  it('share the rate, and begin only when the same gateways were there for ten seconds', () => {
    const cluster = new Cluster('spared', { rate: 50 });
    for (let i = 0; i < 5; i++) cluster.add(1_500);
    cluster.run(20);
    for (let i = 0; i < 5; i++) cluster.add(0);
    cluster.run(9.5);
    assert.equal(cluster.moves, 0);
    const full = () => cluster.gateways.map(({ rebalancer }) => rebalancer.full);
    assert.deepEqual(
      full(),
      [...new Array(5).fill(true), ...new Array(5).fill(false)],
      'but they say that they are full',
    );
    cluster.run(5.5);
    const { moves } = cluster;
    assert.ok(moves > 0);
    cluster.run(10);
    const rate = (cluster.moves - moves) / 10;
    assert.ok(rate > 35 && rate <= 55, `${rate} a second`);
  });

  it('give up for ever longer where a balancer sends everyone back', () => {
    const cluster = new Cluster('back');
    for (const connections of [2_000, 0]) cluster.add(connections);
    cluster.run(120);
    const first = cluster.moves;
    assert.ok(first > 0 && first <= 2_000, `${first} moves`);
    cluster.run(8 * 3_600);
    // 1, 2, 4 … 60 minutes apart.
    assert.ok(cluster.moves <= 16 * first, `${cluster.moves} moves`);
  });

  it('move nobody while one drains, while gateways of two templates are there, or below the minimum', () => {
    const drains = new Cluster('spared');
    for (const connections of [2_000, 0, 0]) drains.add(connections);
    drains.gateways[1]!.draining = true;
    const rollout = new Cluster('spared');
    rollout.add(2_000, 'a');
    rollout.add(0, 'b');
    const few = new Cluster('spared', { minimum: 2_000 });
    for (const connections of [2_000, 0, 0]) few.add(connections);
    const off = new Cluster('spared', { rate: 0 });
    for (const connections of [2_000, 0, 0]) off.add(connections);
    for (const cluster of [drains, rollout, few, off]) {
      cluster.run(300);
      assert.equal(cluster.moves, 0);
    }
  });

  it('stop at once when a drain begins, and go on after it', () => {
    const cluster = new Cluster('spared', { rate: 50 });
    for (const connections of [2_000, 0, 0]) cluster.add(connections);
    cluster.run(20);
    assert.ok(cluster.moves > 0);
    cluster.gateways[1]!.draining = true;
    cluster.run(2.5);
    const { moves } = cluster;
    cluster.run(20);
    assert.equal(cluster.moves, moves);
    cluster.gateways[1]!.draining = false;
    cluster.run(90);
    assert.ok(cluster.worst <= 1.25, `${cluster.counts}`);
  });
});
