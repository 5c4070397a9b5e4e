import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { type Backend, Page, Publisher, readHistory } from '../../chaos/actors.ts';
import { judge, lineOf } from '../../chaos/checker.ts';
import { type Event, Recorder, readEvents } from '../../chaos/record.ts';
import { until } from '../until.ts';
import { inUrl } from './addressPlan.ts';
import type { Live } from './live.ts';

const ROOMS = ['h-0', 'h-1'];
const PAGES_PER_ROOM = 6;
const PUBLISHERS_PER_ROOM = 2;
/** Milliseconds for which a client may get nothing while publishers push, on a busy machine too. */
const SILENCE_MS = 10_000;

/** What NATS stores in memory outlives a rolling restart only if each server has caught up before the next one leaves. */
const STORING = {
  nats: {
    managed: {
      replicas: 3,
      jetstream: { storage: 'memory', size: '32MiB' },
      resources: { requests: { cpu: '100m', memory: '128Mi' }, limits: { memory: '128Mi' } },
    },
  },
  rooms: [{ match: 'h-*', history: { messages: 10_000, replicas: 3 }, batching: { maxDelay: '50ms' } }],
};
export const COUNTS = { gateway: 3, logic: 2, nats: STORING.nats.managed.replicas };
export const SPEC = {
  ...STORING,
  gateway: { replicas: COUNTS.gateway, drain: { rate: 30, settle: '2s', timeout: '60s' } },
  logic: { replicas: COUNTS.logic },
};

/** SDK clients in rooms with history, and publishers that push to them during an operation. */
export class HistoryLoad {
  readonly #pages: { name: string; room: string; page: Page }[];
  readonly #logic: Backend;
  readonly #moves = { moved: 0, closed: 0 };
  #recorder: Recorder | undefined;
  #operations = 0;
  #silence = 0;

  static async start(live: Live): Promise<HistoryLoad> {
    const { host, port } = await live.address();
    const logic = `${inUrl(await live.service('logic'))}:7799`;
    const load = new HistoryLoad(`${inUrl(host)}:${port}`, { address: () => logic, key: await live.key() });
    await Promise.all(load.#pages.map(({ page }) => page.joined));
    return load;
  }

  private constructor(gateways: string, logic: Backend) {
    this.#logic = logic;
    const book = { add: (event: Parameters<Recorder['add']>[0]) => this.#recorder?.add(event) };
    this.#pages = each(PAGES_PER_ROOM, (room, i) => {
      const name = `page-${room}-${i}`;
      const page = new Page(name, room, () => gateways, book);
      page.push.on('moved', () => this.#moves.moved++);
      page.push.on('close', () => this.#moves.closed++);
      return { name, room, page };
    });
  }

  /** For how long a client got nothing at most during the latest operation, milliseconds. */
  get silence(): number {
    return this.#silence;
  }

  /**
   * Publishes until the operation is over, and asserts that every client got every item once and in order, and was told of
   * nothing. Prints what happened, and for how long a client got nothing.
   */
  async during(t: TestContext, operation: () => Promise<unknown>): Promise<void> {
    const folder = await mkdtemp(join(tmpdir(), 'pushcluster-history-'));
    const recorder = new Recorder(folder, 'all', performance.now());
    this.#recorder = recorder;
    Object.assign(this.#moves, { moved: 0, closed: 0 });
    const id = this.#operations++;
    for (const { name, room } of this.#pages) recorder.add({ type: 'joined', client: name, room });
    const publishers = each(
      PUBLISHERS_PER_ROOM,
      (room, i) => new Publisher(`p${id}-${room}-${i}`, room, this.#logic, recorder),
    );
    try {
      const begins = () => this.#pages.every(({ page }) => page.last?.startsWith(`p${id}-`));
      await until('items come', begins);
      const began = performance.now();
      await operation();
      t.diagnostic(`took ${((performance.now() - began) / 1_000).toFixed(1)} s`);
    } finally {
      await Promise.all(publishers.map((publisher) => publisher.stop()));
    }
    // One more item for each room: whoever has it has all that was stored before.
    const end = (room: string) => `end${id}-${room}`;
    for (const room of ROOMS) await new Publisher(end(room), room, this.#logic, recorder).stop();
    // The judge says which are missing.
    await until('the last items come', () =>
      this.#pages.every(({ room, page }) => page.last === `${end(room)}:0`),
    ).catch(() => {});
    for (const room of ROOMS) await readHistory(room, this.#logic, recorder);
    this.#recorder = undefined;
    await recorder.close();
    const events = await readEvents(folder);
    const verdict = judge(events);
    this.#silence = verdict.silence;
    const { moved, closed } = this.#moves;
    t.diagnostic(lineOf(verdict));
    t.diagnostic(`${this.#pages.length} clients, ${moved} moves, ${closed} other ends of connections`);
    t.diagnostic(
      `slowest push ${slowest(events)} ms, ${count(events, 'refused')} refused, ${count(events, 'unknown')} unknown`,
    );
    assert.deepEqual(verdict.problems, [], `see ${folder}`);
    assert.ok(verdict.silence <= SILENCE_MS, `a client got nothing for ${verdict.silence} ms`);
    await rm(folder, { recursive: true });
  }

  end(): void {
    for (const { page } of this.#pages) page.push.close();
  }
}

function each<T>(n: number, make: (room: string, i: number) => T): T[] {
  return ROOMS.flatMap((room) => Array.from({ length: n }, (_, i) => make(room, i)));
}

function count(events: readonly Event[], what: Event['type']): number {
  return events.filter(({ type }) => type === what).length;
}

/** Milliseconds from the first try of a push until it was stored, at most. */
function slowest(events: readonly Event[]): number {
  const began = new Map<string, number>();
  let most = 0;
  for (const event of events) {
    if (event.type === 'attempt') began.set(event.item, event.t);
    if (event.type === 'acked') most = Math.max(most, event.t - (began.get(event.item) ?? event.t));
  }
  return most;
}
