import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { FakeClock } from '@pushcluster/runtime/fakeClock.ts';
import { Client } from './client.ts';
import type { Answer, Request, Transport } from './connection.ts';
import { KINDS } from './objects.ts';
import { Reflector } from './reflector.ts';
import { watchEvents } from './watchStream.ts';

const configMap = (name: string, resourceVersion: string, uid = name) => ({
  metadata: { name, namespace: 'shop', uid, resourceVersion, managedFields: [{}] },
});
const listOf = (resourceVersion: string, ...items: object[]) => ({ metadata: { resourceVersion }, items });
const json = (status: number, body: object): Answer => ({
  status,
  headers: {},
  text: async () => JSON.stringify(body),
  stream: () => undefined,
});

/** An API server that answers lists and watches as a script says; what the script lacks is refused. */
class Script implements Transport {
  readonly namespace = 'shop';
  readonly asked: { at: number; watch: string | undefined }[] = [];
  readonly #clock: FakeClock;
  readonly #lists: (() => Answer)[];
  readonly #watches: (((signal: AbortSignal) => AsyncGenerator<Uint8Array>) | 'unanswered')[];

  constructor(
    clock: FakeClock,
    lists: (() => Answer)[],
    watches: (((signal: AbortSignal) => AsyncGenerator<Uint8Array>) | 'unanswered')[] = [],
  ) {
    this.#clock = clock;
    this.#lists = lists;
    this.#watches = watches;
  }

  async send({ path, signal }: Request): Promise<Answer> {
    const query = new URL(path, 'http://api').searchParams;
    const watch = query.has('watch') ? (query.get('resourceVersion') ?? '') : undefined;
    this.asked.push({ at: this.#clock.now(), watch });
    if (watch === undefined) {
      const answer = this.#lists.shift();
      if (!answer) throw new Error('connect ECONNREFUSED');
      return answer();
    }
    const events = this.#watches.shift() ?? hanging;
    if (events === 'unanswered') return aborted(signal);
    return { ...json(200, {}), stream: () => events(signal) };
  }
}

const bytes = (...events: object[]) => Buffer.from(events.map((event) => `${JSON.stringify(event)}\n`).join(''));

async function* hanging(signal: AbortSignal): AsyncGenerator<Uint8Array> {
  yield await aborted(signal);
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) =>
    signal.addEventListener('abort', () => reject(new Error('aborted')), { once: true }),
  );
}

function fixture(...script: ConstructorParameters<typeof Script> extends [unknown, ...infer Rest] ? Rest : never) {
  const clock = new FakeClock();
  const api = new Script(clock, ...script);
  const changes: string[] = [];
  const reflector = new Reflector({
    client: new Client(api),
    kind: KINDS.configMaps,
    clock,
    random: () => 0.5,
    onChange: ({ type, object }) => changes.push(`${type} ${object.metadata.uid}`),
  });
  reflector.start();
  return { clock, api, reflector, changes };
}

async function until(clock: FakeClock, condition: () => boolean): Promise<void> {
  for (let step = 0; step < 10_000 && !condition(); step++) await clock.pass(25);
  assert.ok(condition());
}

describe('a reflector', () => {
  it('asks an API server that is away after growing waits, of 10 s at most', async () => {
    const { clock, api, reflector } = fixture([]);
    await clock.pass(30_000, 25);
    const waits = api.asked.slice(1).map(({ at }, index) => at - (api.asked[index]?.at ?? 0));
    assert.deepEqual(waits.slice(1, 6), [250, 500, 1_000, 2_000, 4_000]);
    assert.deepEqual([...new Set(waits.slice(6))], [5_000]);
    assert.equal(reflector.isSynced, false);
    await reflector.stop();
  });

  it('opens a watch anew that was silent for 100 s, at once and from where it was, and calls it no failure', async () => {
    async function* oneEvent(signal: AbortSignal) {
      yield bytes({ type: 'ADDED', object: configMap('a', '7') });
      yield* hanging(signal);
    }
    const { clock, api, reflector, changes } = fixture([() => json(200, listOf('5'))], [oneEvent]);
    await clock.pass(99_000, 1_000);
    assert.equal(reflector.counts.watches, 1);
    await clock.pass(3_000, 1_000);
    assert.deepEqual(
      api.asked.map(({ watch }) => watch),
      [undefined, '5', '7'],
    );
    const { failures, silences, lists } = reflector.counts;
    assert.deepEqual({ failures, silences, lists }, { failures: 0, silences: 0, lists: 1 });
    assert.equal(reflector.trouble, undefined);
    assert.deepEqual(changes, ['added a']);
    await reflector.stop();
  });

  it('is in trouble where a watch is not even answered for 100 s', async () => {
    const { clock, reflector } = fixture([() => json(200, listOf('5'))], ['unanswered']);
    await clock.pass(101_000, 1_000);
    assert.match(reflector.trouble?.message ?? '', /the watch of configmaps had no response for 100000 ms/);
    assert.deepEqual([reflector.counts.silences, reflector.counts.failures], [1, 1]);
    await reflector.stop();
  });

  it('fails for as long as no watch works, whatever its lists do, and asks less often without the right to', async () => {
    const refusal = () => json(403, { message: 'configmaps is forbidden' });
    async function* ended() {}
    const { clock, api, reflector } = fixture(
      [...Array(12).fill(refusal), () => json(200, listOf('5'))],
      [ended, ended, hanging],
    );
    await clock.pass(90_000, 25);
    const waits = api.asked.slice(1, 12).map(({ at }, index) => at - (api.asked[index]?.at ?? 0));
    assert.deepEqual(waits.slice(-3), [15_000, 15_000, 15_000]);
    assert.deepEqual([reflector.isSynced, reflector.trouble?.reason], [false, 'forbidden']);
    await until(clock, () => reflector.isSynced);
    assert.ok(reflector.failingFor > 90_000, 'its list alone is no success');
    await until(clock, () => api.asked.length === 16);
    assert.ok(reflector.failingFor > 0, 'a watch that just began may end at once');
    await clock.pass(5_100);
    assert.equal(reflector.failingFor, 0);
    await reflector.stop();
  });

  it('goes on from a bookmark', async () => {
    async function* bookmarked() {
      yield bytes({ type: 'BOOKMARK', object: { metadata: { resourceVersion: '90' } } });
    }
    const { clock, api, reflector } = fixture([() => json(200, listOf('5'))], [bookmarked]);
    await clock.pass(10_000);
    assert.equal(api.asked[2]?.watch, '90');
    assert.equal(reflector.counts.lists, 1);
    await reflector.stop();
  });

  it('lists anew when a watch says 410, tells of what is gone, and of what was made anew under its name', async () => {
    async function* expired() {
      yield bytes({ type: 'ERROR', object: { code: 410, message: 'too old resource version' } });
    }
    const { clock, reflector, changes } = fixture(
      [
        () => json(200, listOf('5', configMap('a', '1'), configMap('b', '2'), configMap('c', '3', 'c-old'))),
        () => json(200, listOf('50', configMap('a', '1'), configMap('c', '40', 'c-new'))),
      ],
      [expired],
    );
    await clock.pass(1_000);
    assert.deepEqual(changes, ['added a', 'added b', 'added c-old', 'deleted b', 'deleted c-old', 'added c-new']);
    assert.equal(reflector.counts.expired, 1);
    assert.equal(reflector.size, 2);
    await reflector.stop();
  });

  it('does not ask in a tight loop where watches are ended as soon as they begin', async () => {
    async function* ended() {}
    const { clock, api, reflector } = fixture([() => json(200, listOf('5'))], Array(100).fill(ended));
    await clock.pass(10_000, 25);
    assert.ok(api.asked.length <= 9, `${api.asked.length} requests in 10 s`);
    await reflector.stop();
  });
});

describe("a watch's stream", () => {
  const all = async (stream: unknown) => Array.fromAsync(watchEvents(stream, () => {}));

  it('may be cut anywhere, also within a character', async () => {
    const text = bytes({ type: 'ADDED', object: { name: '弾幕' } }, { type: 'DELETED', object: { name: '🎉' } });
    for (let cut = 0; cut <= text.length; cut++) {
      const events = await all(ReadableStream.from([text.subarray(0, cut), text.subarray(cut)]));
      assert.deepEqual(
        events.map(({ object }) => object),
        [{ name: '弾幕' }, { name: '🎉' }],
      );
    }
  });

  it('is refused where it is no JSON, no event, or a line without end', async () => {
    const of = (text: string) => all(ReadableStream.from([Buffer.from(text)]));
    await assert.rejects(of('<html>\n'), /a watch did not return JSON/);
    await assert.rejects(of('{"kind":"Status"}\n'), /an event of an unknown form/);
    const part = Buffer.alloc(4 * 1024 * 1024, 'x');
    await assert.rejects(all(ReadableStream.from(Array(5).fill(part))), /a line of more than 16777216 bytes/);
  });
});
