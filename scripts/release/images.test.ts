import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { pinnedBase } from './images.ts';

const DIGEST = `sha256:${'0a'.repeat(32)}`;

describe('the base of images that are published', () => {
  it('is an image with its digest', () => {
    for (const base of [`docker.io/library/node@${DIGEST}`, `mirror.example.com:5000/node:24-trixie-slim@${DIGEST}`])
      assert.equal(pinnedBase(base), base);
  });

  it('is made here if none is named', () => {
    assert.equal(pinnedBase(undefined), undefined);
    assert.equal(pinnedBase(''), undefined);
  });

  it('is no tag, which can move', () => {
    for (const base of ['node', 'docker.io/library/node:24-trixie-slim', 'node@sha256:abc', `@${DIGEST}`])
      assert.throws(() => pinnedBase(base), /BASE must be an image with its digest/);
  });
});
