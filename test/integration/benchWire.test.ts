import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { LINE_RATE, Wire, wireProblem } from '../bench/wire.ts';

const BYTES = 200_000_000;
const READ = `
let bytes = 0;
const began = process.hrtime.bigint();
require('node:net').connect(+process.argv[1], process.argv[2])
  .on('data', (part) => { bytes += part.length; })
  .on('end', () => console.log(JSON.stringify({ bytes, seconds: Number(process.hrtime.bigint() - began) / 1e9 })));
`;
const problem = wireProblem();

test('a played wire carries what is sent over it, no faster than 10 Gbit/s, and leaves nothing behind', {
  skip: problem ?? false,
}, async () => {
  const wire = await Wire.lay();
  try {
    const server = createServer((socket) => socket.on('error', () => {}).end(Buffer.alloc(BYTES)));
    await once(server.listen(0, wire.address), 'listening');
    const address = server.address();
    const port = typeof address === 'object' ? address?.port : undefined;
    const [program = '', ...args] = [...wire.farEnd, process.execPath, '-e', READ, String(port), wire.address];
    const { stdout } = await promisify(execFile)(program, args);
    server.close();
    const { bytes, seconds } = JSON.parse(stdout);
    assert.equal(bytes, BYTES);
    // Headers count as well; a burst may pass at once.
    assert.ok(wire.carried().bytes > BYTES, String(wire.carried().bytes));
    assert.ok(seconds > ((BYTES - 5_000_000) * 8) / LINE_RATE, `${seconds} s`);
  } finally {
    wire.cut();
  }
  assert.match(spawnSync('ip', ['link', 'show', 'pcwire0'], { encoding: 'utf8' }).stderr, /does not exist/);
});
