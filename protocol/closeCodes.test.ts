import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CloseCode, closeReason, comebackAfter, MAX_REASON_BYTES } from './closeCodes.ts';

describe('the reason of a close', () => {
  it('stays as it is where it fits', () => {
    const longest = `${'é'.repeat(61)}x`;
    assert.equal(Buffer.byteLength(longest), MAX_REASON_BYTES);
    assert.equal(closeReason(longest), longest);
    assert.equal(closeReason(''), '');
  });

  it('is cut between two characters where it does not', () => {
    for (const char of ['x', 'é', '漢', '😀']) {
      for (const shift of ['', 'a', 'ab', 'abc']) {
        const cut = closeReason(shift + char.repeat(200));
        const bytes = Buffer.byteLength(cut);
        assert.ok(bytes <= MAX_REASON_BYTES && bytes > MAX_REASON_BYTES - Buffer.byteLength(char), `${bytes} bytes`);
        assert.equal(cut, shift + char.repeat((bytes - shift.length) / Buffer.byteLength(char)));
      }
    }
  });
});

describe('a client', () => {
  it('comes back after what may pass, with a fresh token where it was the token, and stays away after the rest', () => {
    for (const code of [
      1000,
      1001,
      1006,
      1011,
      CloseCode.goingAway,
      CloseCode.overloaded,
      CloseCode.slowConsumer,
      4999,
    ])
      assert.equal(comebackAfter(code), 'retry', `${code}`);
    assert.equal(comebackAfter(CloseCode.policy), 'slower');
    for (const code of [CloseCode.tokenExpired, CloseCode.unauthorized]) assert.equal(comebackAfter(code), 'refresh');
    for (const code of [CloseCode.tooBig, CloseCode.disconnected, CloseCode.replaced, CloseCode.forbidden])
      assert.equal(comebackAfter(code), 'stop', `${code}`);
  });
});
