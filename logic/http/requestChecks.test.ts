import assert from 'node:assert/strict';
import { test } from 'node:test';
import { requireSingleHeaders } from './requestChecks.ts';

test('a header of which there may be one stands in one line, whatever its capitals', () => {
  const look = (...raw: string[]) => {
    const headers = Object.fromEntries(
      raw.flatMap((name, i) => (i % 2 === 0 ? [[name.toLowerCase(), raw[i + 1]]] : [])),
    );
    requireSingleHeaders(raw, headers);
  };
  look('Host', 'a', 'Origin', 'b');
  look('Host', 'a', 'Cookie', 'a=1', 'cookie', 'b=2', 'X-Own', '1', 'x-own', '2');
  for (const name of ['Host', 'Origin', 'Authorization', 'Content-Type', 'Content-Length', 'Content-Encoding'])
    for (const other of [name, name.toLowerCase(), name.toUpperCase()])
      assert.throws(() => look('Accept', '*/*', name, 'a', 'X-Own', '1', other, 'a'), {
        code: 'bad_request',
        message: `The request has more than one ${name.toLowerCase()} header.`,
      });
});
