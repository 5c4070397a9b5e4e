import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import fc from 'fast-check';
import { Emitter } from './emitter.ts';

type Events = { a: number; b: string };

test('a listener that stops and registers itself in an event is called once for it', () => {
  const emitter = new Emitter<Events>();
  const told: number[] = [];
  let stop = () => {};
  const again = (event: number) => {
    told.push(event);
    assert.ok(told.length < 10, 'it is called without end');
    stop();
    stop = emitter.on('a', again);
  };
  stop = emitter.on('a', again);
  emitter.emit('a', 1);
  emitter.emit('a', 2);
  assert.deepEqual(told, [1, 2]);
});

test('one function registered twice is called twice, and each stop ends its own registration, once', () => {
  const emitter = new Emitter<Events>();
  let calls = 0;
  const listener = () => calls++;
  const [first, second] = [emitter.on('a', listener), emitter.on('a', listener)];
  emitter.emit('a', 1);
  assert.equal(calls, 2);
  first();
  first();
  emitter.emit('a', 2);
  assert.equal(calls, 3);
  assert.ok(emitter.has('a'));
  second();
  emitter.emit('a', 3);
  assert.equal(calls, 3);
  assert.ok(!emitter.has('a'));
});

test('after end() nobody is told, not even of the event that is being told', () => {
  const emitter = new Emitter<Events>();
  const told: string[] = [];
  emitter.on('a', () => {
    told.push('first');
    emitter.end();
    emitter.emit('b', 'nested');
  });
  emitter.on('a', () => told.push('second'));
  emitter.on('b', () => told.push('b'));
  emitter.emit('a', 1);
  const stop = emitter.on('a', () => told.push('late'));
  emitter.emit('a', 2);
  stop();
  assert.deepEqual(told, ['first']);
  assert.ok(!emitter.has('a'));
});

test('what is no function is refused at once, with a sentence', () => {
  const emitter = new Emitter<Events>();
  for (const odd of [undefined, null, 'log', {}])
    assert.throws(() => emitter.on('a', odd as unknown as () => void), {
      name: 'TypeError',
      message: 'listener must be a function.',
    });
});

test('a listener that throws is reported as uncaught, and those after it are told all the same', () => {
  const program = `
    import { Emitter } from '${import.meta.resolve('./emitter.ts')}';
    const uncaught = [], told = [];
    process.on('uncaughtException', (error) => uncaught.push(error));
    const emitter = new Emitter();
    for (const what of [new Error('first'), null, undefined, 7])
      emitter.on('a', () => { throw what; });
    emitter.on('a', (event) => told.push(event));
    emitter.emit('a', 1);
    emitter.emit('a', 2);
    setImmediate(() => console.log(JSON.stringify([uncaught.map(String), told])));
  `;
  const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', program], { encoding: 'utf8' });
  const errors = ['Error: first', 'null', 'undefined', '7'];
  assert.deepEqual(JSON.parse(stdout), [
    [...errors, ...errors],
    [1, 2],
  ]);
});

/** What a listener does when it is told: to registrations, by their number in order of `on`, and to the emitter. */
type Deed = { do: 'on'; does: number } | { do: 'stop'; which: number } | { do: 'emit' } | { do: 'end' };

const deeds = fc.array(
  fc.oneof(
    { weight: 4, arbitrary: fc.record({ do: fc.constant('on' as const), does: fc.nat(5) }) },
    { weight: 4, arbitrary: fc.record({ do: fc.constant('stop' as const), which: fc.nat(12) }) },
    { weight: 2, arbitrary: fc.constant({ do: 'emit' as const }) },
    { weight: 1, arbitrary: fc.constant({ do: 'end' as const }) },
  ),
  { maxLength: 4 },
) satisfies fc.Arbitrary<Deed[]>;

test('whatever listeners do to registrations, each event is told once to those who were there, in their order', () => {
  fc.assert(
    fc.property(fc.array(deeds, { minLength: 6, maxLength: 6 }), deeds, (scripts, start) => {
      const emitter = new Emitter<Events>();
      const stops: (() => void)[] = [];
      const active: boolean[] = [];
      let over = false;
      let events = 0;
      let depth = 0;
      const told: Map<number, number[]> = new Map();
      const perform = (deed: Deed) => {
        if (deed.do === 'on' && stops.length < 40) {
          const number = stops.length;
          active[number] = !over;
          stops[number] = emitter.on('a', (event) => {
            assert.ok(active[number], 'it was stopped');
            told.get(event)!.push(number);
            scripts[deed.does]!.forEach(perform);
          });
        } else if (deed.do === 'stop' && stops[deed.which]) {
          active[deed.which] = false;
          stops[deed.which]!();
        } else if (deed.do === 'emit' && depth < 3 && events < 60) {
          const event = ++events;
          const there = active.flatMap((on, number) => (on ? [number] : []));
          told.set(event, []);
          depth++;
          emitter.emit('a', event);
          depth--;
          const got = told.get(event)!;
          assert.deepEqual(
            got,
            [...new Set(got)].sort((a, b) => a - b),
            'once each, in order',
          );
          for (const number of got) assert.ok(there.includes(number), 'it was registered while the event was told');
          for (const number of there)
            assert.ok(got.includes(number) || !active[number], 'it was there, and was not stopped');
        } else if (deed.do === 'end') {
          over = true;
          active.fill(false);
          emitter.end();
        }
      };
      for (const does of [0, 1, 2]) perform({ do: 'on', does });
      start.forEach(perform);
      perform({ do: 'emit' });
      assert.equal(emitter.has('a'), active.includes(true));
    }),
    { numRuns: 500 },
  );
});
