import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { type Allowance, ConnectionAllowances } from './connectionAllowances.ts';

/** A shard at the other end of a wire on which words and reports take their time. */
class FarShard {
  held = 0;
  allowance = 0;
  generation = 0;
  readonly toShard: Allowance[] = [];
  readonly toHub: { held: number; generation: number }[] = [];

  connect(): void {
    if (this.held < this.allowance) this.held++;
  }

  leave(): void {
    if (this.held > 0) this.held--;
  }

  read(): void {
    const word = this.toShard.shift();
    if (!word) return;
    this.allowance = word.connections;
    this.generation = word.generation;
  }

  report(): void {
    this.toHub.push({ held: this.held, generation: this.generation });
  }
}

/** A gateway of so many shards: each step is one thing that happens to one of them. */
class Simulation {
  readonly allowances: ConnectionAllowances;
  readonly shards: FarShard[];
  max: number;

  constructor(shards: number, max: number) {
    this.max = max;
    this.allowances = new ConnectionAllowances(shards);
    this.shards = Array.from({ length: shards }, () => new FarShard());
    for (let i = 0; i < shards; i++) this.allowances.started(i);
    this.share();
  }

  share(): void {
    for (const [i, word] of this.allowances.share(this.max).entries()) if (word) this.shards[i]!.toShard.push(word);
  }

  hear(i: number): void {
    const said = this.shards[i]!.toHub.shift();
    if (!said) return;
    this.allowances.reported(i, said.held, said.generation);
    this.share();
  }

  replace(i: number): void {
    this.allowances.died(i);
    this.shards[i] = new FarShard();
    this.allowances.started(i);
    this.share();
  }

  /** All that is under way arrives, some times over. */
  settle(): void {
    for (let round = 0; round < 6; round++)
      for (const [i, shard] of this.shards.entries()) {
        while (shard.toShard.length > 0) shard.read();
        shard.report();
        while (shard.toHub.length > 0) this.hear(i);
      }
  }

  get held(): number {
    return this.shards.reduce((sum, shard) => sum + shard.held, 0);
  }
}

const step = fc.record({
  what: fc.constantFrom('connect', 'connect', 'connect', 'burst', 'leave', 'read', 'report', 'hear', 'replace'),
  shard: fc.nat({ max: 2 }),
});

describe('the allowances of shards', () => {
  it('never let all together hold more than the limit, however late words and reports are', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 30 }), fc.array(step, { maxLength: 200, size: 'max' }), (max, steps) => {
        const simulation = new Simulation(3, max);
        for (const { what, shard: i } of steps) {
          const shard = simulation.shards[i]!;
          if (what === 'connect') shard.connect();
          else if (what === 'burst') for (let n = 0; n < 40; n++) shard.connect();
          else if (what === 'leave') shard.leave();
          else if (what === 'read') shard.read();
          else if (what === 'report') shard.report();
          else if (what === 'hear') simulation.hear(i);
          else simulation.replace(i);
          assert.ok(simulation.held <= max, `${simulation.held} of ${max} connections`);
        }
      }),
      { numRuns: 1_000 },
    );
  });

  it('let one shard have all of it once the others’ words are read', () => {
    const simulation = new Simulation(3, 100);
    for (let round = 0; round < 12; round++) {
      simulation.settle();
      for (let n = 0; n < 100; n++) simulation.shards[1]!.connect();
    }
    // A whole connection can't be split: each of the others may keep one back.
    assert.ok(simulation.held >= 98, `${simulation.held} connections`);
    assert.equal(simulation.shards[1]!.held, simulation.held);
  });

  it('start at nothing and come with the first word', () => {
    const allowances = new ConnectionAllowances(2);
    allowances.started(0);
    allowances.started(1);
    assert.deepEqual(
      allowances.share(5).map((word) => word?.connections),
      [3, 2],
    );
    assert.deepEqual(allowances.share(5), [undefined, undefined]);
  });

  it('leave out a shard that does not listen, and take nothing from one that died', () => {
    const simulation = new Simulation(2, 10);
    simulation.settle();
    for (let n = 0; n < 5; n++) simulation.shards[0]!.connect();
    simulation.settle();
    simulation.allowances.died(0);
    simulation.shards[0]!.held = 0;
    simulation.share();
    simulation.settle();
    for (let n = 0; n < 20; n++) simulation.shards[1]!.connect();
    assert.equal(simulation.held, 10);
  });

  it('follow a limit that changes live, also to none and back', () => {
    const simulation = new Simulation(2, 10);
    simulation.settle();
    for (const shard of simulation.shards) for (let n = 0; n < 20; n++) shard.connect();
    assert.equal(simulation.held, 10);
    simulation.max = Number.POSITIVE_INFINITY;
    simulation.share();
    simulation.settle();
    for (const shard of simulation.shards) for (let n = 0; n < 20; n++) shard.connect();
    assert.equal(simulation.held, 50);
    simulation.max = 60;
    simulation.share();
    simulation.settle();
    for (const shard of simulation.shards) for (let n = 0; n < 20; n++) shard.connect();
    assert.equal(simulation.held, 60);
    simulation.max = 20;
    simulation.share();
    simulation.settle();
    for (const shard of simulation.shards) shard.connect();
    assert.equal(simulation.held, 60, 'nobody is thrown out');
    assert.ok(simulation.shards.every((shard) => shard.allowance <= shard.held));
  });
});
