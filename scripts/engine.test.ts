import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { z } from 'zod';

/**
 * The gateway's engine, a binary that nobody here has built. docs/decisions.md says where it comes from. These values change
 * with its version only, after a look at the new one.
 */
const ENGINE = {
  name: '@btc-vision/uwebsockets.js',
  version: '20.57.0',
  integrity: 'sha512-SuPpEjSKZ7P58L/27BXXsrGsMwLmPupfYny8oJsOmFZ4+zX7Ca97nBPtZ3ngKbfeDZzTyi7rXri74INGerhugg==',
};
/** SHA-256 of the binaries of the images, for Node 24 (ABI 137). */
const BINARIES = {
  'uws_linux_x64_137.node': '98128405dba2fb608448e921a979530f70c946a2cc9889c15f2fa70c2d00ab05',
  'uws_linux_arm64_137.node': '88618b30ddf6b2b62310db89f40a701616676352aac5e0f6184dd8ef876199ce',
};

const file = (path: string) => readFileSync(new URL(`../${path}`, import.meta.url));
const Lock = z.object({
  packages: z.record(
    z.string(),
    z.looseObject({ name: z.string().optional(), version: z.string().optional(), integrity: z.string().optional() }),
  ),
});

describe('the engine', () => {
  it('is the one that was looked at, by the digest that npm checks whenever it installs', () => {
    const { packages } = Lock.parse(JSON.parse(file('package-lock.json').toString()));
    const { name, version, integrity } = packages['node_modules/uWebSockets.js'] ?? assert.fail('not in the lock file');
    assert.deepEqual({ name, version, integrity }, ENGINE);
  });

  for (const [name, digest] of Object.entries(BINARIES))
    it(`${name} is installed as it was published`, () => {
      const bytes = file(`node_modules/uWebSockets.js/${name}`);
      assert.equal(createHash('sha256').update(bytes).digest('hex'), digest);
    });
});
