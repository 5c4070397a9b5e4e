import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { originAllowed } from './origin.ts';

describe('an origin', () => {
  it('is allowed where none are listed, where none is sent, and where a pattern matches', () => {
    assert.ok(originAllowed('https://a.example', []));
    assert.ok(originAllowed('', ['https://a.example']));
    assert.ok(originAllowed('https://x.a.example', ['https://b.example', 'https://*.a.example']));
    assert.ok(!originAllowed('https://evil.example', ['https://*.a.example']));
    assert.ok(!originAllowed('null', ['https://a.example']));
  });
});
