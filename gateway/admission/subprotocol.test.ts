import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { chooseSubprotocol } from './subprotocol.ts';

describe('the subprotocol', () => {
  const served = ['pushcluster.v1', 'pushcluster.v1.deflate'];

  it('is the first offered that is served', () => {
    assert.equal(chooseSubprotocol('chat, pushcluster.v1.deflate,pushcluster.v1', served), 'pushcluster.v1.deflate');
    assert.equal(chooseSubprotocol('pushcluster.v1.deflate, pushcluster.v1', ['pushcluster.v1']), 'pushcluster.v1');
  });

  it('is none where none is offered or none is known', () => {
    assert.equal(chooseSubprotocol('', served), undefined);
    assert.equal(chooseSubprotocol('chat, PushCluster.v1', served), undefined);
  });
});
