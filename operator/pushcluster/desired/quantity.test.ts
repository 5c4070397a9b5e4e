import assert from 'node:assert/strict';
import { it } from 'node:test';
import { amountOf } from './quantity.ts';

it('an amount of Kubernetes is read as the number that it stands for', () => {
  const amounts: [number | string, number][] = [
    [2, 2],
    ['2', 2],
    ['1.5', 1.5],
    ['.5', 0.5],
    ['250m', 0.25],
    ['1e3', 1_000],
    ['1E3', 1_000],
    ['2Ki', 2_048],
    ['1k', 1_000],
    ['500u', 0.0005],
  ];
  for (const [text, amount] of amounts) assert.ok(Math.abs(amountOf(text) - amount) < 1e-9, String(text));
});

it('what is no amount is none', () => {
  for (const text of ['', 'much', '1x', '-1']) assert.equal(amountOf(text), 0, text);
});
