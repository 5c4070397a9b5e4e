import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Action, authorize, type Caller } from './authorization.ts';

test('a scope allows what it names and the refusal says what it lacks', () => {
  const caller: Caller = {
    name: 'comments',
    scope: { all: false, rooms: ['live-*', 'lobby'], users: ['guest-*'], disconnect: false, read: true, history: [] },
  };
  const allowed: Action[] = [
    { type: 'room', room: 'live-1' },
    { type: 'rooms', rooms: ['live-1', 'lobby'] },
    { type: 'user', user: 'guest-7' },
    { type: 'users', users: ['guest-7', 'guest-8'] },
    { type: 'read' },
  ];
  for (const action of allowed) authorize(caller, action);
  const refused: [Action, RegExp][] = [
    [{ type: 'all' }, /lacks all/],
    [{ type: 'room', room: 'admin' }, /under rooms of its scope matches "admin"/],
    [{ type: 'rooms', rooms: ['live-1', 'admin'] }, /matches "admin"/],
    [{ type: 'user', user: 'alice' }, /under users of its scope matches "alice"/],
    [{ type: 'users', users: ['guest-1', 'alice'] }, /matches "alice"/],
    [{ type: 'disconnect_user', user: 'guest-7' }, /lacks disconnect/],
    [{ type: 'disconnect_room', room: 'live-1' }, /lacks disconnect/],
  ];
  for (const [action, message] of refused)
    assert.throws(() => authorize(caller, action), { code: 'forbidden', message });
});

test('disconnecting needs both the right and a pattern', () => {
  const caller: Caller = {
    name: 'mod',
    scope: { all: false, rooms: ['live-*'], users: [], disconnect: true, read: false, history: [] },
  };
  authorize(caller, { type: 'disconnect_room', room: 'live-1' });
  assert.throws(() => authorize(caller, { type: 'disconnect_room', room: 'x' }), { code: 'forbidden' });
  assert.throws(() => authorize(caller, { type: 'disconnect_user', user: 'alice' }), { code: 'forbidden' });
  assert.throws(() => authorize(caller, { type: 'read' }), { code: 'forbidden', message: /lacks read/ });
});

test('a key without a scope may do everything, nobody may do nothing', () => {
  authorize({ name: 'root', scope: undefined }, { type: 'all' });
  assert.throws(() => authorize(null, { type: 'read' }), { code: 'unauthorized' });
});
