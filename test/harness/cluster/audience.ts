import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { PushClient } from '@pushcluster/client/pushClient.ts';
import { WebSocket } from 'ws';
import { z } from 'zod';
import { Connection } from '../connection.ts';
import type { CountedMoves } from '../countedMoves.ts';
import { ascends, Ledger, type Place, type Writer } from '../ledger.ts';
import type { Pushes } from '../pushes.ts';
import { until } from '../until.ts';
import { inUrl } from './addressPlan.ts';

/** Address that clients connect to. Each connection may reach another gateway. */
export type Address = { host: string; port: number };
export type End = { code: number; reason: string; at: number };

const Marked = z.object({ w: z.string(), n: z.number() });
/** Clients reconnect after a random delay of up to this many milliseconds, as go-push clients do. */
const COME_BACK_MS = 1_000;
/** How often a client tries to connect for the first time. */
const TRIES = 60;
/** Milliseconds. A client that is in its room receives an item sooner, on a busy machine too. */
const COMES_MS = 5_000;

/** A client with the SDK, in one room. */
export class Fan {
  readonly push: PushClient;
  /** Numbers of the received items, by writer, in order of arrival. */
  readonly got = new Map<string, number[]>();
  /** Times at which a gateway sent RECONNECT, milliseconds of performance.now(). */
  readonly asked: number[] = [];
  /** Connections that ended before the client had a new one. */
  readonly closes: End[] = [];
  moved = 0;
  /** Number of items that LAGGED frames reported as lost. */
  told = 0;

  constructor({ host, port }: Address, room: string, compression: boolean) {
    // The type of `ws` has more members than the SDK needs.
    const options = { WebSocket: WebSocket as never, backoff: { base: 100 }, compression };
    this.push = new PushClient(`ws://${inUrl(host)}:${port}/connect`, options);
    for (const stream of [this.push.join(room), this.push.all])
      stream.on('item', (item) => {
        const { w, n } = Marked.parse(item);
        const numbers = this.got.get(w) ?? [];
        this.got.set(w, numbers);
        numbers.push(n);
      });
    this.push.on('moved', () => this.moved++);
    this.push.on('close', ({ code, reason }) => this.closes.push({ code, reason, at: performance.now() }));
    this.push.on('lagged', ({ dropped }) => {
      this.told += dropped;
    });
    this.push.on('frame', ({ text }) => {
      if (text.startsWith('{"type":"RECONNECT"')) this.asked.push(performance.now());
    });
  }

  get isOpen(): boolean {
    return this.push.state === 'open' || this.push.state === 'moving';
  }

  /** How many of a writer's items are missing between the first received item and the writer's last item. */
  missed(writer: Writer): number {
    const numbers = this.got.get(writer.name) ?? [];
    const [first] = numbers;
    return first === undefined ? writer.next - 1 : writer.next - first - numbers.length;
  }
}

/** A client without a subprotocol that joins a room and reconnects after a close, as go-push clients do. */
export class Regular {
  readonly connections: Connection[] = [];
  readonly #address: Address;
  readonly #room: string;
  #isEnding = false;

  constructor(address: Address, room: string) {
    this.#address = address;
    this.#room = room;
  }

  get current(): Connection | undefined {
    return this.connections.at(-1);
  }

  get isOpen(): boolean {
    return this.current !== undefined && this.current.closed === undefined;
  }

  /** Ends of connections that the client did not end itself. */
  get ends(): End[] {
    return this.connections.flatMap(({ closing }) => (closing && !this.#isEnding ? [closing] : []));
  }

  async come(): Promise<void> {
    const connection = await Connection.open({ ...this.#address, form: 'plain' });
    try {
      await connection.join(this.#room);
    } catch (error) {
      connection.cut();
      throw error;
    }
    this.connections.push(connection);
    // The test has ended meanwhile, so nothing else will close this connection.
    if (this.#isEnding) connection.cut();
    void connection.ended(3_600_000).then(async () => {
      while (!this.#isEnding) {
        await setTimeout(Math.random() * COME_BACK_MS);
        if (this.#isEnding) return;
        if (
          await this.come().then(
            () => true,
            () => false,
          )
        )
          return;
      }
    });
  }

  end(): void {
    this.#isEnding = true;
    this.current?.cut();
  }
}

/** Many clients at one address, and the writers that publish to them. */
export class Audience {
  readonly fans: Fan[] = [];
  readonly regulars: Regular[] = [];
  readonly ledger = new Ledger();
  readonly #address: Address;
  readonly #room: string;
  readonly #stop = new AbortController();
  #writing: Promise<unknown> = Promise.resolve();

  constructor(address: Address, room = 'match') {
    this.#address = address;
    this.#room = room;
  }

  /** Adds clients, a hundred at a time; resolves when all are connected and in the room. */
  async come({ fans = 0, regulars = 0 }: { fans?: number; regulars?: number }): Promise<void> {
    for (let left = regulars; left > 0; left -= 100) {
      const more = Array.from({ length: Math.min(100, left) }, () => new Regular(this.#address, this.#room));
      await Promise.all(more.map((each) => persist(() => each.come())));
      this.regulars.push(...more);
    }
    for (let left = fans; left > 0; left -= 100) {
      const more = Array.from(
        { length: Math.min(100, left) },
        (_, index) => new Fan(this.#address, this.#room, index % 4 === 0),
      );
      this.fans.push(...more);
      await Promise.all(more.map((fan) => fan.push.join(this.#room).joined));
    }
  }

  /** Publishes one item to the room and one to all every `every` milliseconds, until `quiet` is called. */
  write(logic: Pushes, every = 250): void {
    const places: Place[] = [{ room: this.#room }, { all: true }];
    const writers = places.map((place, index) => this.ledger.writer(`w${index}`, place, logic));
    const { signal } = this.#stop;
    this.#writing = Promise.all(
      writers.map(async (writer) => {
        while (!signal.aborted) {
          await writer.push(1);
          await setTimeout(every, undefined, { signal }).catch(() => {});
        }
      }),
    );
  }

  /**
   * Stops publishing and waits until the last items have reached all SDK clients. Publishes more until then: a client
   * that has just come back is connected before it is in its room.
   */
  async quiet(): Promise<void> {
    this.#stop.abort();
    await this.#writing;
    const { writers } = this.ledger;
    const came = () =>
      this.fans.every((fan) => writers.every((writer) => fan.got.get(writer.name)?.at(-1) === writer.next - 1));
    await until('the last items came', async () => {
      for (const writer of writers) await writer.push(1);
      return until('these items came', came, COMES_MS).then(
        () => true,
        () => false,
      );
    }).catch((error: Error) => assert.fail(error.message));
  }

  /** Times at which clients were asked or forced to move, sorted; milliseconds of performance.now(). */
  get moves(): number[] {
    const asked = this.fans.flatMap((fan) => fan.asked);
    const closed = this.regulars.flatMap(({ ends }) => ends.map(({ at }) => at));
    return [...asked, ...closed].sort((a, b) => a - b);
  }

  get everyone(): readonly (Fan | Regular)[] {
    return [...this.fans, ...this.regulars];
  }

  /**
   * Asserts that each SDK client received all items that were published since its first item, without any reported as
   * lost, and that each other connection received all items that were published while it was open. Prints the numbers
   * of published, received and lost items.
   */
  settle(t: TestContext): void {
    const { writers } = this.ledger;
    let [published, received, told] = [0, 0, 0];
    for (const fan of this.fans) {
      told += fan.told;
      for (const { name, next } of writers) {
        const numbers = fan.got.get(name) ?? [];
        published += next - (numbers[0] ?? 1);
        received += numbers.length;
      }
    }
    const sum = `published ${published}, received ${received}, told lost ${told}`;
    t.diagnostic(`${this.fans.length} SDK clients: ${sum}`);
    [published, received, told] = [0, 0, 0];
    const connections = this.regulars.flatMap((regular) => regular.connections);
    for (const { tallies } of connections)
      for (const { numbers } of tallies.values()) {
        published += numbers.at(-1)! - numbers[0]! + 1;
        received += numbers.length;
        assert.ok(ascends(numbers), 'an item came twice, or out of its order');
      }
    const others = `${connections.length} connections, one after the other`;
    t.diagnostic(
      `${this.regulars.length} clients without it, ${others}: published while they stood ${published}, received ${received}`,
    );
    assert.equal(received, published);
    for (const fan of this.fans) {
      assert.equal(fan.told, 0);
      for (const writer of writers) assert.equal(fan.missed(writer), 0, 'an SDK client missed items');
    }
  }

  /** Number of connections that ended without action of their clients, by close code. */
  get codes(): Record<number, number> {
    const counts: Record<number, number> = {};
    const ends = [...this.fans.flatMap(({ closes }) => closes), ...this.regulars.flatMap(({ ends }) => ends)];
    for (const { code } of ends) counts[code] = (counts[code] ?? 0) + 1;
    return counts;
  }

  end(): void {
    this.#stop.abort();
    for (const fan of this.fans) fan.push.close();
    for (const regular of this.regulars) regular.end();
  }
}

/**
 * Connects again if that fails, as browsers and their users do: the gateways of a busy machine may be short of something
 * for a while.
 */
export async function persist<T>(come: () => Promise<T>): Promise<T> {
  for (let left = TRIES; ; left--)
    try {
      return await come();
    } catch (error) {
      if (left === 0) throw error;
      await setTimeout(500 + Math.random() * COME_BACK_MS);
    }
}

/** The greatest number of events within any `span` milliseconds. */
export function busiest(times: readonly number[], span: number): number {
  let first = 0;
  let most = 0;
  for (const [index, at] of times.entries()) {
    while (at - times[first]! >= span) first++;
    most = Math.max(most, index - first + 1);
  }
  return most;
}

/**
 * At most two gateways drain at the same time, and each moves whole connections. Therefore each gateway may exceed the
 * pace by one connection in any second.
 */
const WHOLE_ONES = 2;

/**
 * Asserts that no second had more moves than 1.2 × the pace (connections per second), as counted by the gateways, and
 * that the counts include at least half of the moves: those of a gateway's last moments are not seen.
 */
export async function assertPace(t: TestContext, counted: CountedMoves, moves: number, pace: number): Promise<void> {
  await counted.stop();
  const { share, text } = counted.fastest(pace, WHOLE_ONES);
  t.diagnostic(
    `${moves} moves, ${counted.total} seen as the gateways counted them; fastest, but for ${WHOLE_ONES} whole ones: ${text}`,
  );
  assert.ok(counted.total >= 0.5 * moves, 'the pace was seen');
  assert.ok(share <= 1.2, text);
}
