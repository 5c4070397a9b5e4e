import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { jwt, SimulatedClock, SimulatedNetwork, type SimulatedSocket } from '@pushcluster/client/simulation.ts';
import fc from 'fast-check';
import { pino } from 'pino';
import { SimulatedCluster } from './cluster.ts';
import { settingsWith } from './hub.ts';

/** One session per user over gateways whose clocks differ, in virtual time. */

const SETTINGS = settingsWith({ gateway: { connections: { onePerUser: true } } });

type Plan = { busDelays: number[]; latencies: number[]; skews: number[] };

class Users {
  readonly clock = new SimulatedClock();
  readonly cluster: SimulatedCluster;
  readonly sessions: { user: string; socket: SimulatedSocket; code: number | undefined }[] = [];
  readonly #network = new SimulatedNetwork();

  constructor(plan: Plan) {
    this.cluster = new SimulatedCluster(this.clock, this.#network, {
      ...plan,
      settings: SETTINGS,
      log: pino({ level: 'silent' }),
    });
  }

  open(user: string, gateway: number) {
    this.cluster.next = gateway;
    const socket = new this.#network.WebSocket(`ws://g/connect?token=${jwt({ sub: user })}`, ['pushcluster.v1']);
    const session = { user, socket, code: undefined as number | undefined };
    socket.onclose = ({ code }: { code: number }) => {
      session.code = code;
    };
    this.sessions.push(session);
    return session;
  }

  /** Sessions of the user that are open, by when they were opened. */
  left(user: string): number[] {
    const theirs = this.sessions.filter((session) => session.user === user);
    return theirs.flatMap(({ code }, i) => (code === undefined ? [i] : []));
  }
}

const SKEWED = { busDelays: [5, 5, 5], latencies: [1], skews: [0, 10_000, -10_000] };

describe('one session per user', () => {
  it('is the newer one, whichever gateway is ahead by its clock', async () => {
    const users = new Users(SKEWED);
    await users.clock.advance(1_000);
    const gateways = [1, 0, 2, 1, 2, 0, 0, 2, 2];
    for (const [i, gateway] of gateways.entries()) {
      users.open('u', gateway);
      await users.clock.advance(100);
      assert.deepEqual(users.left('u'), [i]);
    }
    assert.deepEqual([...new Set(users.sessions.slice(0, -1).map(({ code }) => code))], [4004]);
  });

  it('is one of those that were opened at the same moment', async () => {
    const users = new Users(SKEWED);
    await users.clock.advance(1_000);
    for (const gateway of [0, 1, 2, 0, 1, 2, 0, 0]) users.open('u', gateway);
    await users.clock.advance(1_000);
    assert.equal(users.left('u').length, 1);
  });

  it('is one again after the bus was away, and those of others stay', async () => {
    const users = new Users(SKEWED);
    await users.clock.advance(1_000);
    users.open('v', 0);
    for (let user = 0; user < 500; user++) users.open(`crowd ${user}`, 1);
    users.open('u', 1);
    await users.clock.advance(100);
    for (const { bus } of users.cluster.gateways) bus.cut();
    for (const gateway of [0, 2]) users.open('u', gateway);
    await users.clock.advance(100);
    assert.deepEqual(users.left('u'), [0, 1, 2]);
    for (const { bus } of users.cluster.gateways) bus.mend();
    await users.clock.advance(1_000);
    assert.equal(users.left('u').length, 1);
    assert.deepEqual(users.left('v'), [0]);
    assert.equal(users.sessions.filter(({ code }) => code === undefined).length, 502);
  });

  it('is exactly one, whatever clocks, delays and outages there are', async () => {
    const op = fc.oneof(
      {
        weight: 4,
        arbitrary: fc.record({
          type: fc.constant('open' as const),
          user: fc.constantFrom('u', 'v'),
          gateway: fc.nat(2),
        }),
      },
      {
        weight: 1,
        arbitrary: fc.record({ type: fc.constant('outage' as const), gateway: fc.nat(2), ms: fc.nat(2_000) }),
      },
    );
    const skew = fc.integer({ min: -60_000, max: 60_000 });
    await fc.assert(
      fc.asyncProperty(
        fc.record({
          busDelays: fc.tuple(fc.nat(100), fc.nat(100), fc.nat(100)),
          latencies: fc.array(fc.nat(50), { minLength: 1, maxLength: 3 }),
          skews: fc.tuple(skew, skew, skew),
        }),
        fc.array(fc.record({ after: fc.oneof(fc.constant(0), fc.nat(300)), op }), { minLength: 1, maxLength: 30 }),
        async (plan, ops) => {
          const users = new Users(plan);
          await users.clock.advance(1_000);
          for (const { after, op } of ops) {
            await users.clock.advance(after);
            if (op.type === 'open') users.open(op.user, op.gateway);
            else {
              const { bus } = users.cluster.gateways[op.gateway]!;
              bus.cut();
              users.clock.after(op.ms, () => bus.mend());
            }
          }
          await users.clock.advance(5_000);
          for (const user of new Set(users.sessions.map(({ user }) => user)))
            assert.equal(users.left(user).length, 1, `of ${user}`);
        },
      ),
      { numRuns: 200 },
    );
  });
});
