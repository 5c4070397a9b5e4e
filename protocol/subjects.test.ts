import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { MAX_NAME_BYTES, nameProblem } from './names.ts';
import { roomOfToken, roomToken, Subjects } from './subjects.ts';

const room = fc.string({ unit: 'binary', minLength: 1, maxLength: 128 }).filter((name) => !nameProblem(name));

test('every room has a token of its own that leads back to it', () => {
  fc.assert(
    fc.property(room, room, (a, b) => {
      assert.equal(roomOfToken(roomToken(a)), a);
      assert.equal(roomToken(a) === roomToken(b), a === b);
    }),
  );
});

test('a token is one NATS token, whatever the room is called', () => {
  fc.assert(fc.property(room, (name) => /^[A-Za-z0-9_=-]{1,384}$/.test(roomToken(name))));
  for (const name of ['*', '>', 'a.b', ' ', '\n', '\0', '弹幕', '🎉', '=2A', '\uFEFFroom', '$SYS'])
    assert.equal(roomOfToken(roomToken(name)), name);
});

test('plain names stay readable', () => {
  assert.equal(new Subjects('tenant.live').room('live-42'), 'tenant.live.out.room.live-42');
  assert.equal(roomToken('a.b'), 'a=2Eb');
});

test('what is no token throws TypeError', () => {
  for (const token of ['=', '=2', '=2a', '=ZZ', 'a.b', 'é', '=FF', '=C3'])
    assert.throws(() => roomOfToken(token), TypeError, token);
});

test('no two kinds of subject can meet, even for a room called like another kind', () => {
  const subjects = new Subjects('p');
  const all = [
    subjects.all,
    subjects.user,
    subjects.command,
    subjects.session,
    subjects.stat('gateway-1'),
    subjects.reply('logic-1'),
    ...['all', 'user', 'room', 'cmd', 'stat'].map((name) => subjects.room(name)),
  ];
  assert.equal(new Set(all).size, all.length);
});

test('a name has 1 to 128 bytes of well-formed UTF-8', () => {
  assert.equal(nameProblem('x'.repeat(MAX_NAME_BYTES)), undefined);
  assert.equal(nameProblem('é'.repeat(MAX_NAME_BYTES / 2)), undefined);
  assert.match(nameProblem('x'.repeat(MAX_NAME_BYTES + 1))!, /at most 128 bytes/);
  assert.match(nameProblem(`${'é'.repeat(MAX_NAME_BYTES / 2)}x`)!, /at most 128 bytes/);
  assert.match(nameProblem('')!, /empty/);
  assert.match(nameProblem('\ud800')!, /well-formed/);
  for (const other of [undefined, null, 5, {}, ['room']]) assert.match(nameProblem(other)!, /a string/);
});
