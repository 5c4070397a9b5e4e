import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import type { ServerResponse } from 'node:http';
import { beforeEach, describe, it } from 'node:test';
import { Problem } from '../errors/problem.ts';
import { ResponseSlots } from './responseSlots.ts';

/** A response, as far as slots look at it. */
class FakeResponse extends EventEmitter {
  readonly socket = Object.assign(new EventEmitter(), { destroyed: false });
  readonly req = { socket: this.socket };

  leave() {
    this.socket.destroyed = true;
    this.socket.emit('close');
  }
}

describe('a slot for a large response', () => {
  let slots: ResponseSlots;
  const make = <T>(response: FakeResponse, work: () => Promise<T>) =>
    slots.make(response as unknown as ServerResponse, work);
  const isFree = () =>
    make(new FakeResponse(), async () => true).catch((error: unknown) => {
      assert.ok(error instanceof Problem && error.code === 'overloaded');
      return false;
    });

  beforeEach(() => {
    slots = new ResponseSlots(1, () => {});
  });

  it('is taken until the response was sent', async () => {
    const response = new FakeResponse();
    assert.equal(await make(response, async () => 'text'), 'text');
    assert.equal(await isFree(), false);
    response.emit('close');
    assert.equal(response.socket.listenerCount('close'), 0);
    assert.equal(await isFree(), true);
  });

  it('is taken until its connection has closed, also where another response comes before it', async () => {
    const response = new FakeResponse();
    await make(response, async () => 'text');
    response.leave();
    response.emit('close');
    assert.equal(await isFree(), true);
    assert.equal(await isFree(), false);
  });

  it('is taken while the response is made, although the client has left', async () => {
    const response = new FakeResponse();
    const { promise, resolve } = Promise.withResolvers<void>();
    const made = make(response, () => promise);
    response.leave();
    assert.equal(await isFree(), false);
    resolve();
    await made;
    assert.equal(await isFree(), true);
  });

  it('is taken until the problem was sent that the response became', async () => {
    const response = new FakeResponse();
    await assert.rejects(
      make(response, () => Promise.reject(new Error('no'))),
      /no/,
    );
    assert.equal(await isFree(), false);
    response.emit('close');
    assert.equal(await isFree(), true);
  });
});
