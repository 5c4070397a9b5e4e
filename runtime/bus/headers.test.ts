import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { headers as natsHeaders } from 'nats';
import { headerBytes } from './headers.ts';

describe('the size of headers', () => {
  it('is that of NATS, and nothing without headers', () => {
    assert.equal(headerBytes(undefined), 0);
    for (const published of [{ a: '' }, { Seq: '7', Name: 'déjà: vu' }]) {
      const headers = natsHeaders();
      for (const [name, value] of Object.entries(published)) headers.set(name, value);
      const encoded = Buffer.from(String(headers));
      assert.equal(headerBytes(published), encoded.length);
    }
  });

  it('is asked of headers that can be sent as they are, and of no others', () => {
    for (const headers of [{ 'a b': 'x' }, { 'a:': 'x' }, { '': 'x' }, { a: 'x\r\nb: y' }, { a: ' x' }])
      assert.throws(() => headerBytes(headers), TypeError);
  });
});
