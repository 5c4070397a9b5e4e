import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { PushClient } from './pushClient.ts';
import { SimulatedClock, SimulatedNetwork } from './simulation.ts';

/** What a page may pass by mistake: each is refused with a sentence that names the option, and nothing is begun. */

const call = () => {};
const NUMBERS = [0, 5, -1, 0.5, Number.NaN, Number.POSITIVE_INFINITY];
const TEXTS = ['', 'no', '5'];
const BOOLEANS = [true, false];
const ARRAYS = [[], [5], ['text'], [null]];
const ODD = [7n, Symbol('odd')];
const OBJECTS = [{}, new Map(), new Date(0)];
const LESS_THAN_ONE = [0, 0.5, -1, Number.NaN, Number.NEGATIVE_INFINITY];

const NO_NUMBER = [...TEXTS, ...BOOLEANS, ...ARRAYS, ...ODD, ...OBJECTS, call];
const NO_OBJECT = [...NUMBERS, ...TEXTS, ...BOOLEANS, ...ARRAYS, ...ODD, call];
const NO_FUNCTION = [...NUMBERS, ...TEXTS, ...BOOLEANS, ...ARRAYS, ...ODD, ...OBJECTS];
const NO_SIGNAL = [
  ...NO_FUNCTION,
  call,
  new EventTarget(),
  { aborted: true },
  { aborted: false },
  { aborted: false, addEventListener: call },
  { aborted: 'no', addEventListener: call, removeEventListener: call },
];

/** Values by option, or `option.member`. */
const WRONG: Record<string, readonly unknown[]> = {
  token: [...NUMBERS, ...BOOLEANS, ...ARRAYS, ...ODD, ...OBJECTS],
  compression: [...NUMBERS, ...TEXTS, ...ARRAYS, ...ODD, ...OBJECTS, call],
  protocols: [
    ...NUMBERS,
    ...TEXTS,
    ...BOOLEANS,
    ...ODD,
    ...OBJECTS,
    call,
    new Set(['a']),
    [''],
    ['two words'],
    [5],
    [null],
    [undefined],
    [true],
    [['a']],
    [['a', 'b']],
    ['a', {}],
    new Array(1),
  ],
  WebSocket: NO_FUNCTION,
  backoff: NO_OBJECT,
  'backoff.base': [...NO_NUMBER, -1, Number.NaN],
  'backoff.cap': [...NO_NUMBER, -1, Number.NaN],
  'backoff.stable': [...NO_NUMBER, -1, Number.NaN],
  queueLimit: [...NO_NUMBER, ...LESS_THAN_ONE],
  openTimeout: [...NO_NUMBER, ...LESS_THAN_ONE],
  idleTimeout: [...NO_NUMBER, ...LESS_THAN_ONE],
  probeTimeout: [...NO_NUMBER, ...LESS_THAN_ONE],
  signal: NO_SIGNAL,
  random: NO_FUNCTION,
  clock: [...NO_FUNCTION, call, { now: call }, { after: call }, { now: 5, after: call }, { now: call, after: 'soon' }],
  'clock.wall': [...NO_FUNCTION],
};

function shown(value: unknown): string {
  return typeof value === 'object'
    ? `${Object.prototype.toString.call(value)} ${JSON.stringify(value)}`
    : String(value);
}

/** What a client of these options throws. */
function thrownBy(options: unknown): unknown {
  const network = new SimulatedNetwork();
  const clock = new SimulatedClock();
  try {
    const given = typeof options === 'object' ? { WebSocket: network.WebSocket, clock, ...options } : options;
    new PushClient('ws://127.0.0.1:9/connect', (Array.isArray(options) ? options : given) as object).close();
  } catch (error) {
    assert.equal(network.sockets.length, 0);
    assert.equal(clock.pending, 0);
    return error;
  }
  return undefined;
}

function assertNames(error: unknown, name: string, value: unknown) {
  assert.ok(error instanceof TypeError, `${name}: ${shown(value)} gave ${error}`);
  assert.match(error.message, new RegExp(`^${name}(\\.\\w+)? must be [\\w :]+( from \\d)?\\.$`));
  if (error.message.startsWith(`${name} `)) assert.ok(Object.is(error.cause, value), `${name}: ${shown(value)}`);
}

describe('options of a wrong shape', () => {
  for (const [name, values] of Object.entries(WRONG))
    it(`${name} is refused with its name`, () => {
      const [option, member] = name.split('.') as [string, string?];
      for (const value of values) {
        const whole = option === 'clock' ? { now: call, after: call } : {};
        assertNames(thrownBy({ [option]: member ? { ...whole, [member]: value } : value }), name, value);
      }
    });

  it('options that are no object are refused', () => {
    for (const value of NO_OBJECT) assertNames(thrownBy(value), 'options', value);
  });

  it('are refused by join() too, and the room is not joined', () => {
    const network = new SimulatedNetwork();
    const push = new PushClient('ws://gateway/connect', { WebSocket: network.WebSocket, clock: new SimulatedClock() });
    network.last.accept();
    const refusal = (name: unknown, options?: unknown) => {
      try {
        push.join(name as string, options as object);
      } catch (error) {
        return error;
      }
    };
    for (const value of NO_OBJECT) assertNames(refusal('r', value), 'options', value);
    for (const value of NO_SIGNAL) assertNames(refusal('r', { signal: value }), 'signal', value);
    for (const value of [undefined, null, ...NUMBERS, ...BOOLEANS, ...ARRAYS, ...ODD, ...OBJECTS, call])
      assertNames(refusal(value), 'name', value);
    assert.equal(network.last.sent.length, 0);
    assert.ok(push.join('r', null).name);
    assert.ok(push.join('s', { signal: null }).name);
    assert.equal(network.last.sent.length, 2);
    push.close();
  });
});
