import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import type { Connection } from './connection.ts';
import { markedItem } from './items.ts';
import type { PushAnswer, Pushes, Target } from './pushes.ts';
import { PATIENCE_MS, until } from './until.ts';

/** The target of a writer: a single place, so that the expected items of each connection are unambiguous. */
export type Place = Extract<Target, { all: true } | { room: string } | { user: string }>;

/** Pushes marked items to one place through one logic process, one push after the other. */
export class Writer {
  readonly name: string;
  readonly place: Place;
  readonly logic: Pushes;
  /** Items whose push was answered with 202. */
  accepted = 0;
  /** Items answered with bus_unconfirmed: they may have been delivered or not. The publisher counts them. */
  unconfirmed = 0;
  /** Numbers of the items that were refused: no connection may receive them. */
  readonly refused = new Set<number>();
  readonly answers: PushAnswer[] = [];
  /** The number of the next item. */
  next = 1;

  constructor(name: string, place: Place, logic: Pushes) {
    this.name = name;
    this.place = place;
    this.logic = logic;
  }

  /** Pushes `count` more items. `filler` is the filling of each item: a number of bytes, or a text. */
  async push(count: number, filler: number | string = ''): Promise<PushAnswer> {
    const first = this.next;
    this.next += count;
    const filling = typeof filler === 'number' ? 'x'.repeat(filler) : filler;
    const items = Array.from({ length: count }, (_, i) => markedItem(this.name, first + i, filling));
    const answer = await this.logic.push(this.place, items);
    this.answers.push(answer);
    if (answer.status === 202) this.accepted += count;
    else if (answer.code === 'bus_unconfirmed') this.unconfirmed += count;
    else if (answer.code === 'bus_unavailable') for (let i = 0; i < count; i++) this.refused.add(first + i);
    else throw new Error(`${this.name}: unexpected answer ${answer.status} ${JSON.stringify(answer.body)}`);
    return answer;
  }

  get room(): string | undefined {
    return 'room' in this.place ? this.place.room : undefined;
  }

  /** Whether `connection` must receive the writer's items. */
  reaches({ rooms, user }: Connection): boolean {
    if ('room' in this.place) return rooms.has(this.place.room);
    return 'all' in this.place || this.place.user === user;
  }
}

/** What one connection received in one room, or (room undefined) from pushes to all and to its user. */
export type Account = {
  connection: Connection;
  room: string | undefined;
  published: number;
  received: number;
  told: number;
};

export type SettleOptions = {
  /** Set if items were lost: plain connections get no LAGGED frame and may then miss items. */
  lossy?: boolean;
  /** Milliseconds until the accounts must balance. */
  deadline?: number;
};

/** Records what was published, and who received it. */
export class Ledger {
  readonly writers: Writer[] = [];

  writer(name: string, place: Place, logic: Pushes): Writer {
    const writer = new Writer(name, place, logic);
    this.writers.push(writer);
    return writer;
  }

  /** The accounts of a connection: one for each room, and one for pushes to all and to its user. */
  accounts(connection: Connection): Account[] {
    const accounts = new Map<string | undefined, Account>();
    const of = (room: string | undefined) => {
      const account = accounts.get(room) ?? { connection, room, published: 0, received: 0, told: 0 };
      accounts.set(room, account);
      return account;
    };
    for (const writer of this.writers)
      if (writer.reaches(connection)) of(writer.room).published += writer.accepted + writer.unconfirmed;
    for (const { room, numbers } of connection.tallies.values()) of(room).received += numbers.length;
    for (const { room, dropped } of connection.lags) of(room).told += dropped;
    return [...accounts.values()];
  }

  /**
   * Pushes one last item by each writer, so that earlier losses become visible. Waits until the accounts balance, then
   * asserts for each connection: published = received + reported lost; each item arrives once, in its writer's order
   * and in the right place; no refused item arrives. Prints the three numbers.
   */
  async settle(t: TestContext, connections: readonly Connection[], options: SettleOptions = {}): Promise<void> {
    const { lossy = false, deadline = PATIENCE_MS } = options;
    for (const writer of this.writers) {
      const answer = await writer.push(1);
      assert.equal(answer.status, 202, `the last push of ${writer.name}`);
    }
    const accounts = () => connections.flatMap((connection) => this.accounts(connection));
    const open = () => accounts().filter((account) => !balances(account, lossy));
    await until('the books balance', () => open().length === 0, deadline).catch(() => {});
    print(t, accounts());
    this.#printWriters(t);
    for (const connection of connections) this.#checkOrder(connection);
    const wrong = open().map(sentence);
    assert.deepEqual(wrong.slice(0, 20), [], `${wrong.length} accounts don't balance`);
  }

  /**
   * Waits until each connection has the last item of each writer that reaches it. After a settlement that was lossy, items
   * may still be under way to plain connections, whose accounts balance without them.
   */
  async arrived(connections: readonly Connection[]): Promise<void> {
    const hasLast = (connection: Connection) =>
      this.writers.every((writer) => {
        const tally = connection.tallies.get(`${writer.name}\n${writer.room ?? ''}`);
        return !writer.reaches(connection) || tally?.numbers.at(-1) === writer.next - 1;
      });
    await until('everyone has the last items', () => connections.every(hasLast));
  }

  #printWriters(t: TestContext) {
    const sum = (count: (writer: Writer) => number) => this.writers.reduce((total, writer) => total + count(writer), 0);
    const accepted = sum((writer) => writer.accepted);
    const unconfirmed = sum((writer) => writer.unconfirmed);
    const refused = sum((writer) => writer.refused.size);
    t.diagnostic(
      `${this.writers.length} writers: ${accepted} items accepted, ${unconfirmed} unconfirmed, ${refused} refused`,
    );
  }

  #checkOrder(connection: Connection) {
    const writers = new Map(this.writers.map((writer) => [writer.name, writer]));
    for (const { writer: name, room, numbers } of connection.tallies.values()) {
      const writer = writers.get(name);
      assert.ok(writer, `an item of ${name}, who is no writer of this ledger`);
      assert.ok(writer.reaches(connection), `an item of ${name} came to a connection that it is not for`);
      assert.equal(room, writer.room, `an item of ${name} in the wrong room`);
      assert.ok(ascends(numbers), `items of ${name} came twice or out of order: ${numbers.join(' ')}`);
      const refused = numbers.filter((n) => writer.refused.has(n));
      assert.deepEqual(refused, [], `items of ${name} were refused with bus_unavailable and came all the same`);
    }
  }
}

export function ascends(numbers: readonly number[]): boolean {
  return numbers.every((n, i) => i === 0 || n > numbers[i - 1]!);
}

function balances({ connection, published, received, told }: Account, lossy: boolean): boolean {
  if (lossy && connection.form === 'plain') return received <= published;
  return published === received + told;
}

function sentence({ connection, room, published, received, told }: Account): string {
  const place = room === undefined ? 'all and user' : `room ${room}`;
  return `${connection.form} on ${connection.peer}, ${place}: published ${published}, received ${received}, told lost ${told}`;
}

function print(t: TestContext, accounts: readonly Account[]) {
  const groups = new Map<string, { connections: Set<Connection>; published: number; received: number; told: number }>();
  for (const { connection, published, received, told } of accounts) {
    const name = `${connection.form} on ${connection.peer}`;
    const group = groups.get(name) ?? { connections: new Set(), published: 0, received: 0, told: 0 };
    groups.set(name, group);
    group.connections.add(connection);
    group.published += published;
    group.received += received;
    group.told += told;
  }
  for (const [name, { connections, published, received, told }] of [...groups].sort())
    t.diagnostic(
      `${name}, ${connections.size} connections: published ${published}, received ${received}, told lost ${told}`,
    );
}
