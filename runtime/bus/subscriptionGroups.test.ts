import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { type Outcome, SubscriptionGroups, type SubscriptionRequest } from './subscriptionGroups.ts';

/** A server that takes so many subscriptions, and says of one too many only that there was one. */
class Server {
  readonly known = new Set<string>();
  readonly groups: SubscriptionGroups;
  readonly outcomes = new Map<string, Outcome>();
  readonly #asked = new Map<string, SubscriptionRequest>();
  #limit: number;
  #answers: (() => void)[] = [];

  constructor(limit: number) {
    this.#limit = limit;
    this.groups = new SubscriptionGroups({
      soon: (run) => run(),
      whenAnswered: (callback) => this.#answers.push(callback),
    });
  }

  ask(name: string, permitted = true) {
    const asked: SubscriptionRequest = {
      refused: false,
      send: () => {
        if (!permitted) asked.refused = true;
        else if (this.known.size >= this.#limit) this.groups.limitReached();
        else this.known.add(name);
      },
      outcome: (outcome) => this.outcomes.set(name, outcome),
    };
    this.#asked.set(name, asked);
    this.groups.add(asked);
  }

  end(name: string) {
    const asked = this.#asked.get(name);
    if (!asked) return;
    this.#asked.delete(name);
    this.outcomes.delete(name);
    asked.outcome = () => {};
    this.groups.end(asked, () => this.known.delete(name));
  }

  answer() {
    for (const callback of this.#answers.splice(0)) callback();
  }

  /** Names that are asked for, and what they are believed to be. */
  get believed(): [string, boolean][] {
    return [...this.#asked.keys()].map((name) => [name, this.outcomes.get(name) === 'in force']);
  }
}

describe('subscriptions of one connection', () => {
  it('are in force when the server has answered, those of the meantime together after that', () => {
    const server = new Server(10);
    server.ask('a');
    server.ask('b');
    server.ask('c');
    assert.deepEqual([...server.known], ['a'], 'one group at a time');
    assert.equal(server.outcomes.size, 0);
    server.answer();
    assert.deepEqual([...server.outcomes], [['a', 'in force']]);
    server.answer();
    assert.deepEqual([...server.outcomes.keys()], ['a', 'b', 'c']);
  });

  it('say when all that was asked before is known, and wait for nothing that was asked later', () => {
    const server = new Server(10);
    const known: string[] = [];
    server.groups.whenKnown(() => known.push('nothing asked'));
    server.ask('a');
    server.groups.whenKnown(() => known.push(`a ${server.outcomes.get('a')}`));
    server.answer();
    server.ask('b');
    assert.deepEqual(known, ['nothing asked']);
    server.answer();
    assert.deepEqual(known, ['nothing asked', 'a in force']);
  });

  it('beyond the limit are known, though the server names none', () => {
    const server = new Server(2);
    server.ask('first');
    for (const name of ['a', 'b', 'c']) server.ask(name, name !== 'b');
    server.answer();
    server.answer();
    assert.deepEqual(Object.fromEntries(server.outcomes), {
      first: 'in force',
      a: 'in force',
      b: 'refused',
      c: 'refused',
    });
  });

  it('are believed to be what they are, whatever comes and goes in whatever order', () => {
    const step = fc.record({
      what: fc.constantFrom('ask', 'ask', 'end', 'answer', 'forbidden'),
      name: fc.integer({ min: 0, max: 12 }).map((n) => `s${n}`),
    });
    fc.assert(
      fc.property(fc.nat(6), fc.array(step, { maxLength: 60, size: 'max' }), (limit, steps) => {
        const server = new Server(limit);
        const there = new Set<string>();
        for (const { what, name } of steps) {
          if (what === 'answer') server.answer();
          else if (what === 'end') {
            server.end(name);
            there.delete(name);
          } else if (!there.has(name)) {
            server.ask(name, what === 'ask');
            there.add(name);
          }
        }
        for (let i = 0; i < 4; i++) server.answer();
        for (const [name, inForce] of server.believed) assert.equal(inForce, server.known.has(name), name);
      }),
      { numRuns: 2_000 },
    );
  });
});
