import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { FakeClock } from '../fakeClock.ts';
import { PACE_MS } from '../pace.ts';
import { ReadPacer } from './readPacer.ts';

/** A connection to which `rate` messages a second come, evenly. */
class Connection {
  readonly clock = new FakeClock();
  readonly pacer = new ReadPacer({ pause: () => this.#set(false), resume: () => this.#set(true) }, this.clock);
  /** Messages that each read found, and the longest time that one of them waited. */
  reads: number[] = [];
  longest = 0;
  #reading = true;
  #waiting: number[] = [];

  come(messages = 1) {
    for (let i = 0; i < messages; i++) this.#waiting.push(this.clock.now());
    this.#read();
  }

  run(rate: number, ms: number, each = 1) {
    const gap = (1_000 * each) / rate;
    for (let left = ms; left > 0; left -= gap) {
      this.come(each);
      this.clock.advance(gap);
    }
  }

  #set(reading: boolean) {
    assert.notEqual(this.#reading, reading);
    this.#reading = reading;
    this.#read();
  }

  #read() {
    if (!this.#reading || this.#waiting.length === 0) return;
    const found = this.#waiting.splice(0);
    this.longest = Math.max(this.longest, this.clock.now() - found[0]!);
    this.reads.push(found.length);
    this.pacer.received(found.length);
  }
}

describe('the pacer of reads', () => {
  it('lets no message wait below 2,000 a second', () => {
    for (const rate of [1, 100, 1_000, 1_500]) {
      const connection = new Connection();
      connection.run(rate, 1_000);
      assert.equal(connection.longest, 0, `${rate} a second`);
    }
  });

  it('reads several messages at a time beyond, each of them at most 4 ms late', () => {
    for (const rate of [3_000, 5_000, 20_000, 100_000]) {
      const connection = new Connection();
      connection.run(rate, 100);
      connection.reads = [];
      connection.run(rate, 1_000);
      assert.ok(connection.reads.length <= 1_000 / PACE_MS + 1, `${connection.reads.length} reads at ${rate}`);
      assert.ok(connection.longest <= PACE_MS, `${connection.longest} ms at ${rate}`);
    }
  });

  it('lets a message after a quiet time not wait, nor the first of a burst', () => {
    const connection = new Connection();
    connection.run(20_000, 100);
    connection.clock.advance(200);
    connection.longest = 0;
    connection.come();
    assert.equal(connection.longest, 0);
    connection.clock.advance(200);
    connection.come(1_000);
    assert.equal(connection.longest, 0);
  });

  it('reads all that a turn of the loop has to read, before it pauses', () => {
    const connection = new Connection();
    for (let i = 0; i < 10; i++) connection.come(100);
    assert.deepEqual(connection.reads, Array(10).fill(100));
    connection.clock.advance(0);
    connection.come();
    assert.equal(connection.reads.length, 10);
    connection.clock.advance(PACE_MS);
    assert.equal(connection.reads.length, 11);
  });
});
