import assert from 'node:assert/strict';
import { test } from 'node:test';
import { jwt } from './simulation.ts';
import { refreshDelay } from './token.ts';

const NOW = 1_700_000_000_000;
const seconds = (offset: number) => NOW / 1000 + offset;

test('a token is replaced after 80 % of its life, and 30 s before its end where that is sooner', () => {
  assert.equal(refreshDelay(jwt({ exp: seconds(3_600) }), NOW), 2_880_000);
  assert.equal(refreshDelay(jwt({ exp: seconds(100) }), NOW), 70_000);
});

test('a short-lived token is replaced at half its life, and never within 5 s', () => {
  assert.equal(refreshDelay(jwt({ exp: seconds(40) }), NOW), 20_000);
  assert.equal(refreshDelay(jwt({ exp: seconds(2) }), NOW), 5_000);
  assert.equal(refreshDelay(jwt({ exp: seconds(-10) }), NOW), 5_000);
});

test('a clock that is wrong by days does not hurry or stop the refresh', () => {
  const claims = { iat: seconds(-2 * 86_400), exp: seconds(-2 * 86_400 + 600) };
  assert.equal(refreshDelay(jwt(claims), NOW), 480_000);
  const ahead = { iat: seconds(2 * 86_400), exp: seconds(2 * 86_400 + 600) };
  assert.equal(refreshDelay(jwt(ahead), NOW), 480_000);
});

test('a token that says nothing of its end, or is no JWT, is not replaced', () => {
  for (const token of [jwt({ sub: 'ada' }), jwt({ exp: 'soon' }), 'opaque', 'a.b.c', ''])
    assert.equal(refreshDelay(token, NOW), undefined);
});

test('whatever a token says, it is replaced after 5 s at the soonest, or never', () => {
  const numbers = [
    '1e999',
    '-1e999',
    '1e308',
    '-1e308',
    '0',
    '-1',
    '1700000000',
    '1700000600',
    'null',
    '"1"',
    '[]',
    '{}',
  ];
  for (const exp of numbers)
    for (const iat of numbers) {
      const token = `x.${Buffer.from(`{"exp":${exp},"iat":${iat}}`).toString('base64url')}.x`;
      const delay = refreshDelay(token, NOW);
      assert.ok(delay === undefined || delay >= 5_000, `exp ${exp}, iat ${iat}: ${delay}`);
    }
});

test('claims with any characters are read', () => {
  assert.equal(refreshDelay(jwt({ name: '弹幕 🎉 ÿ>?~', exp: seconds(3_600) }), NOW), 2_880_000);
});
