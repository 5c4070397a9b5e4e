import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { CloseCode, comebackAfter } from './closeCodes.ts';
import {
  errorFrame,
  laggedFrame,
  leaveFrame,
  okFrame,
  PONG,
  parseClientFrame,
  pongFrame,
  reconnectFrame,
  resetFrame,
} from './frames.ts';

const parse = (frame: unknown) => parseClientFrame(JSON.stringify(frame));

describe('what a client says', () => {
  test('the frames of the contract are understood, with and without an id', () => {
    assert.deepEqual(parse({ type: 'PING', data: {} }), { type: 'PING' });
    assert.deepEqual(parse({ type: 'JOIN', data: { room: 'r' } }), { type: 'JOIN', room: 'r' });
    assert.deepEqual(parse({ type: 'JOIN', id: 7, data: { room: 'r' } }), { type: 'JOIN', id: '7', room: 'r' });
    assert.deepEqual(parse({ type: 'LEAVE', id: 'x', data: { room: 'r' } }), { type: 'LEAVE', id: '"x"', room: 'r' });
    assert.deepEqual(parse({ type: 'AUTH', id: 0, data: { token: 't' } }), { type: 'AUTH', id: '0', token: 't' });
    assert.deepEqual(parseClientFrame('{"type":"PING"}'), { type: 'PING' });
  });

  test('unknown types and fields are ignored, and an id that is none', () => {
    for (const frame of [{ type: 'DANCE' }, { type: 5 }, {}, [], 5, 'PING', null, true, [{ type: 'PING' }]])
      assert.deepEqual(parse(frame), { type: 'unknown' });
    assert.deepEqual(parse({ type: 'JOIN', id: {}, more: 1, data: { room: 'r', until: {} } }), {
      type: 'JOIN',
      room: 'r',
    });
  });

  test('of an unknown type with an id is known by it', () => {
    for (const type of ['DANCE', 5, null, undefined])
      assert.deepEqual(parse({ type, id: 7 }), { type: 'unknown', id: '7' });
  });

  test('an id is told as it was sent, whatever a double makes of it', () => {
    const numbers = [
      '9007199254740993',
      '-9007199254740993',
      '1e400',
      '-1E+400',
      '-0',
      '0.1',
      '1e-400',
      '0.99999999999999999999',
      '1.0',
      '1e2',
      `1${'0'.repeat(4_000)}`,
    ];
    for (const id of [...numbers, '"x"', '"\\ud83d\\ude00"', '7']) {
      const text = `{"a":{"id":1.5},"id":"no","type":"PING","id" : ${id} ,"b":[{"id":2.5}]}`;
      const frame = parseClientFrame(text);
      assert.ok(frame.type === 'PING' && frame.id !== undefined);
      if (numbers.includes(id)) assert.equal(frame.id, id);
      else assert.deepEqual(JSON.parse(frame.id), JSON.parse(id));
      assert.equal(pongFrame(frame.id), `{"type":"PONG","id":${frame.id},"data":{}}`);
    }
  });

  test('a frame may be nested as deeply as its bytes allow', () => {
    for (const open of ['[', '{"a":'])
      for (const id of ['1.5', '9007199254740993', '7']) {
        const depth = Math.floor(60_000 / (open.length + 1));
        const deep = `${open.repeat(depth)}0${(open === '[' ? ']' : '}').repeat(depth)}`;
        const frame = parseClientFrame(`{"id":${id},"type":"PING","data":${deep}}`);
        assert.deepEqual(frame, { type: 'PING', id });
      }
  });

  test('any number and any text that is an id comes back as the same JSON value', () => {
    const digits = fc.stringMatching(/^-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,4})?$/);
    const ids = fc.oneof(
      digits,
      fc.string({ unit: 'binary' }).map((text) => JSON.stringify(text)),
    );
    const others = fc.dictionary(fc.constantFrom('id', 'a', '__proto__', 'data'), fc.jsonValue(), { maxKeys: 3 });
    fc.assert(
      fc.property(ids, others, fc.constantFrom('PING', 'DANCE'), (id, other, type) => {
        const before = JSON.stringify(other).slice(1, -1);
        const frame = parseClientFrame(`{${before}${before === '' ? '' : ','}"type":"${type}","id":${id}}`);
        assert.ok(frame.type === (type === 'PING' ? 'PING' : 'unknown') && frame.id !== undefined);
        if (id.startsWith('"')) assert.equal(JSON.parse(frame.id), JSON.parse(id));
        else assert.equal(frame.id, id);
        assert.doesNotThrow(() => JSON.parse(errorFrame(frame.id ?? '', 'bad_frame', 'x')));
      }),
      { numRuns: 2_000 },
    );
  });

  test('a bad room is answered by its name', () => {
    for (const data of [undefined, null, [], 'r', {}, { room: 5 }, { room: '' }, { room: 'x'.repeat(129) }]) {
      const frame = parse({ type: 'JOIN', id: 7, data });
      assert.ok(frame.type === 'bad' && frame.code === 'bad_room' && frame.id === '7', JSON.stringify(data));
      assert.match(frame.message, /^data\.room must /);
    }
    assert.deepEqual(parseClientFrame('{"type":"JOIN","data":{"room":"\\ud800"}}').type, 'bad');
  });

  test('a JOIN says from where it goes on', () => {
    const since = { epoch: 'e', seq: 41 };
    const from = (data: object) => parse({ type: 'JOIN', id: 7, data: { room: 'r', ...data } });
    const join = { type: 'JOIN', id: '7', room: 'r' };
    assert.deepEqual(from({ since }), { ...join, since });
    assert.deepEqual(from({ since: { ...since, more: 1 }, away: 5_200 }), { ...join, since, away: 5_200 });
    assert.deepEqual(from({ since: { epoch: 'e', seq: 0 } }), { ...join, since: { epoch: 'e', seq: 0 } });
    assert.deepEqual(from({ last: 1 }), { ...join, last: 1 });
    assert.deepEqual(from({ last: 1_000, away: 0.5 }), { ...join, last: 1_000, away: 0.5 });
    assert.deepEqual(from({ since, last: 5, away: 0 }), { ...join, since, last: 5, away: 0 });
    assert.deepEqual(parse({ type: 'LEAVE', data: { room: 'r', since: 5 } }), { type: 'LEAVE', room: 'r' });
  });

  test('a JOIN that says it wrongly is bad, and the message names the field', () => {
    const bad = (data: string, field: string) => {
      const frame = parseClientFrame(`{"type":"JOIN","id":7,"data":{"room":"r",${data}}}`);
      assert.ok(frame.type === 'bad' && frame.code === 'bad_frame' && frame.id === '7', data);
      assert.ok(frame.message.startsWith(`data.${field} must be `), frame.message);
    };
    for (const since of ['null', '5', '"e"', '[]', 'true']) bad(`"since":${since}`, 'since');
    for (const epoch of ['', '"epoch":null,', '"epoch":5,', '"epoch":"",', '"epoch":{},'])
      bad(`"since":{${epoch}"seq":1}`, 'since.epoch');
    for (const seq of ['null', '"1"', '-1', '1.5', '9007199254740992', '1e999', '[]'])
      bad(`"since":{"epoch":"e","seq":${seq}}`, 'since.seq');
    bad('"since":{"epoch":"e"}', 'since.seq');
    for (const last of ['null', '0', '1001', '1.5', '-1', '"5"', '1e999']) bad(`"last":${last}`, 'last');
    for (const away of ['null', '-1', '"5"', '1e999', '{}'])
      bad(`"since":{"epoch":"e","seq":1},"away":${away}`, 'away');
  });

  test('AUTH without a token is bad', () => {
    assert.deepEqual(parse({ type: 'AUTH', id: 1, data: { token: 5 } }), {
      type: 'bad',
      id: '1',
      code: 'bad_frame',
      message: 'data.token must be a string',
    });
  });

  test('what is no JSON is malformed', () => {
    for (const text of ['', '{', 'PING', '{"type":"PING"}}', '\uFEFF{}', "{'type':'PING'}", '\0'])
      assert.deepEqual(parseClientFrame(text), { type: 'malformed' });
  });

  test('no text makes it throw, pollute or invent', () => {
    const known = ['PING', 'JOIN', 'LEAVE', 'AUTH', 'unknown', 'bad', 'malformed'];
    const frame = fc.record(
      {
        type: fc.oneof(fc.constantFrom('PING', 'JOIN', 'LEAVE', 'AUTH', '__proto__', 'constructor'), fc.jsonValue()),
        id: fc.jsonValue(),
        data: fc.oneof(
          fc.jsonValue(),
          fc.record({ room: fc.jsonValue(), token: fc.jsonValue() }, { requiredKeys: [] }),
          fc.record(
            {
              room: fc.constant('r'),
              since: fc.oneof(fc.jsonValue(), fc.record({ epoch: fc.jsonValue(), seq: fc.jsonValue() })),
              last: fc.jsonValue(),
              away: fc.jsonValue(),
            },
            { requiredKeys: ['room'] },
          ),
          fc.constant(JSON.parse('{"__proto__":{"room":"r"}}')),
        ),
      },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string({ unit: 'binary' }),
          fc.json(),
          frame.map((each) => JSON.stringify(each)),
        ),
        (text) => {
          const frame = parseClientFrame(text);
          assert.ok(known.includes(frame.type));
          if (frame.type !== 'JOIN') return;
          const { since, last, away } = frame;
          if (since) assert.ok(typeof since.epoch === 'string' && since.epoch && Number.isSafeInteger(since.seq));
          if (last !== undefined) assert.ok(last >= 1 && last <= 1_000);
          if (away !== undefined) assert.ok(away >= 0 && away < Number.POSITIVE_INFINITY);
        },
      ),
      { numRuns: 3_000 },
    );
    assert.equal(parseClientFrame('['.repeat(60_000)).type, 'malformed');
    assert.equal(parseClientFrame('['.repeat(30_000) + ']'.repeat(30_000)).type, 'unknown');
    assert.equal(({} as Record<string, unknown>).room, undefined);
  });
});

describe('what a gateway says', () => {
  test('frames are those of the contract', () => {
    assert.equal(PONG, '{"type":"PONG","data":{}}');
    assert.equal(okFrame('7', 'r'), '{"type":"OK","id":7,"data":{"room":"r"}}');
    assert.equal(okFrame('"a"'), '{"type":"OK","id":"a","data":{}}');
    const position = { epoch: 'e', seq: 44 };
    assert.equal(okFrame('7', 'r', position), '{"type":"OK","id":7,"data":{"room":"r","epoch":"e","seq":44}}');
    assert.equal(
      okFrame('7', 'r', { ...position, recovered: false }),
      '{"type":"OK","id":7,"data":{"room":"r","epoch":"e","seq":44,"recovered":false}}',
    );
    assert.equal(resetFrame('r', position), '{"type":"RESET","data":{"room":"r","epoch":"e","seq":44}}');
    assert.equal(
      errorFrame('7', 'room_limit', 'too many'),
      '{"type":"ERROR","id":7,"data":{"code":"room_limit","message":"too many"}}',
    );
    assert.equal(laggedFrame('r', 12, 'slow'), '{"type":"LAGGED","data":{"room":"r","dropped":12,"reason":"slow"}}');
    assert.equal(laggedFrame(undefined, 1, 'bus_gap'), '{"type":"LAGGED","data":{"dropped":1,"reason":"bus_gap"}}');
    assert.equal(reconnectFrame(8_000, 2_000), '{"type":"RECONNECT","data":{"withinMs":8000,"overlapMs":2000}}');
    assert.equal(leaveFrame('r', 'why'), '{"type":"LEAVE","data":{"room":"r","reason":"why"}}');
  });

  test('whatever a client calls its frame comes back as valid UTF-8 and JSON', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (id) => {
        const frame = okFrame(JSON.stringify(id), id);
        assert.ok(frame.isWellFormed());
        assert.deepEqual(JSON.parse(frame), { type: 'OK', id, data: { room: id } });
      }),
    );
    assert.ok(okFrame(JSON.stringify('\ud800')).isWellFormed());
  });
});

describe('close codes', () => {
  test('each is valid in a close frame and of its own', () => {
    const codes = Object.values(CloseCode);
    assert.equal(new Set(codes).size, codes.length);
    // RFC 6455, 7.4: 1005, 1006 and 1015 can't be sent, below 3000 only registered codes, above 4999 none.
    for (const code of codes) assert.ok([1008, 1009, 1012, 1013].includes(code) || (code >= 4_000 && code <= 4_999));
  });

  test('the code decides whether a client comes back', () => {
    for (const code of [1000, 1001, 1006, 1011, CloseCode.goingAway, CloseCode.overloaded, CloseCode.slowConsumer])
      assert.equal(comebackAfter(code), 'retry', String(code));
    assert.equal(comebackAfter(CloseCode.policy), 'slower');
    for (const code of [CloseCode.tokenExpired, CloseCode.unauthorized])
      assert.equal(comebackAfter(code), 'refresh', String(code));
    for (const code of [CloseCode.tooBig, CloseCode.disconnected, CloseCode.replaced, CloseCode.forbidden])
      assert.equal(comebackAfter(code), 'stop', String(code));
  });
});
