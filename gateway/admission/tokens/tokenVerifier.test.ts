import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it, mock } from 'node:test';
import { until } from '@pushcluster/test/harness/until.ts';
import { CompactSign, exportJWK, generateKeyPair, type JWTPayload, jwtVerify, SignJWT, UnsecuredJWT } from 'jose';
import { InvalidToken, nextVerifier, TokenVerifier } from './tokenVerifier.ts';

const SECRET = 'a secret that is long enough for HS256';
const soon = () => Math.floor(Date.now() / 1_000) + 3_600;

let folder: string;
let files = 0;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pushcluster-token-'));
});
after(() => rm(folder, { recursive: true, force: true }));

async function fileWith(text: string): Promise<string> {
  const path = join(folder, `${files++}`);
  await writeFile(path, text);
  return path;
}

function hs256(claims: JWTPayload, secret = SECRET): Promise<string> {
  return new SignJWT(claims).setProtectedHeader({ alg: 'HS256' }).sign(new TextEncoder().encode(secret));
}

async function keyPair(algorithm: 'RS256' | 'ES256', kid: string) {
  const { privateKey, publicKey } = await generateKeyPair(algorithm);
  return {
    jwk: { ...(await exportJWK(publicKey)), kid, alg: algorithm },
    sign: (claims: JWTPayload) => new SignJWT(claims).setProtectedHeader({ alg: algorithm, kid }).sign(privateKey),
  };
}

async function bySecret(more: { audience?: string; issuer?: string } = {}): Promise<TokenVerifier> {
  return new TokenVerifier({ secretFile: await fileWith(`${SECRET}\n`), ...more });
}

const refused = (verifier: TokenVerifier, token: string, why: RegExp) =>
  assert.rejects(verifier.verify(token), (error) => error instanceof InvalidToken && why.test(error.message));

describe('a token', () => {
  it('says who its bearer is, which rooms are allowed, and until when', async () => {
    const verifier = await bySecret();
    const exp = soon();
    const token = await hs256({ sub: 'ann', rooms: ['live-*'], exp });
    assert.deepEqual(await verifier.verify(token), { user: 'ann', rooms: ['live-*'], expires: exp });
    assert.deepEqual(await verifier.verify(await hs256({})), { user: undefined, rooms: undefined, expires: 0 });
    verifier.close();
  });

  it('is refused where it is none, is signed by another, or not at all', async () => {
    const verifier = await bySecret();
    for (const text of ['', 'x', 'a.b.c', `${'x'.repeat(5_000)}.y.z`])
      await refused(verifier, text, /^token refused: /);
    await refused(verifier, await hs256({}, `${SECRET}!`), /signature/);
    await refused(verifier, new UnsecuredJWT({}).encode(), /alg|Invalid/);
    verifier.close();
  });

  it('is refused after its end and before its beginning, but for five seconds of difference between clocks', async (t) => {
    const verifier = await bySecret();
    const now = Math.floor(Date.now() / 1_000);
    t.mock.timers.enable({ apis: ['Date'], now: now * 1_000 });
    await refused(verifier, await hs256({ exp: now - 10 }), /exp/);
    await refused(verifier, await hs256({ nbf: now + 60 }), /nbf/);
    assert.equal((await verifier.verify(await hs256({ exp: now - 2 }))).expires, now - 2);
    verifier.close();
  });

  it('is refused for another audience or issuer, where they are set', async () => {
    const verifier = await bySecret({ audience: 'push', issuer: 'https://id.example' });
    const right = { aud: ['other', 'push'], iss: 'https://id.example' };
    await verifier.verify(await hs256(right));
    await refused(verifier, await hs256({ ...right, aud: 'other' }), /aud/);
    await refused(verifier, await hs256({ ...right, iss: 'https://evil.example' }), /iss/);
    await refused(verifier, await hs256({ aud: 'push' }), /iss/);
    verifier.close();
  });

  it('is refused where its claims are not what they should be', async () => {
    const verifier = await bySecret();
    for (const sub of ['', 'x'.repeat(129)]) await refused(verifier, await hs256({ sub }), /sub must be a name/);
    await refused(verifier, await hs256({ rooms: 'live-*' }), /token refused/);
    await refused(verifier, await hs256({ rooms: new Array(1_001).fill('x') }), /more than 1,000/);
    verifier.close();
  });
});

describe('a token signed with a secret', () => {
  it('is checked at once, with the outcome that jose has', async () => {
    const key = new TextEncoder().encode(SECRET);
    const verifier = await bySecret({ audience: 'push', issuer: 'id' });
    const right = { sub: 'ann', aud: 'push', iss: 'id', exp: soon() };
    const good = await hs256(right);
    const [header = '', claims = '', signature = ''] = good.split('.');
    const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const other = { HS384: 'HS384', HS512: 'HS512' };
    const signed = (text: string) => new CompactSign(Buffer.from(text)).setProtectedHeader({ alg: 'HS256' }).sign(key);
    const tokens = [
      good,
      await hs256({ ...right, exp: 1 }),
      await hs256({ ...right, nbf: soon() }),
      await hs256({ ...right, aud: 'x' }),
      await hs256({ sub: 'ann', exp: soon() }),
      await hs256(right, `${SECRET}x`),
      ...(await Promise.all(
        Object.values(other).map((alg) =>
          new SignJWT(right).setProtectedHeader({ alg }).sign(Buffer.from(SECRET.repeat(2))),
        ),
      )),
      await signed('[1]'),
      await signed('no JSON'),
      await signed('{"aud":"push","iss":"id","exp":"tomorrow"}'),
      new UnsecuredJWT(right).encode(),
      `${part({ alg: 'none' })}.${claims}.${signature}`,
      `${part({ alg: 'HS256', crit: ['x'], x: 1 })}.${claims}.${signature}`,
      `${part({ alg: 'HS256' })}.${part({ ...right, sub: 'bob' })}.${signature}`,
      `${header}.${claims}.${signature.slice(0, -1)}`,
      `${header}.${claims}.${signature}A`,
      `${header}.${claims}.`,
      `${header}.${claims}`,
      `${good}.`,
      ` ${good}`,
      '',
      '..',
    ];
    const options = { audience: 'push', issuer: 'id', clockTolerance: 5, algorithms: ['HS256'] };
    let accepted = 0;
    for (const token of tokens) {
      const theirs = await jwtVerify(token, key, options).then(
        ({ payload }) => payload.sub,
        () => 'refused',
      );
      assert.equal(outcome(verifier, token), theirs, token);
      if (theirs !== 'refused') accepted++;
    }
    assert.equal(accepted, 1);
    verifier.close();
  });

  it('is refused where its header names extensions, signed or not', async () => {
    const verifier = await bySecret();
    const header = { alg: 'HS256', crit: ['b64'], b64: true };
    const token = await new SignJWT({ sub: 'ann' }).setProtectedHeader(header).sign(new TextEncoder().encode(SECRET));
    assert.equal(outcome(verifier, token), 'refused');
    verifier.close();
  });

  function outcome(verifier: TokenVerifier, token: string): string | undefined {
    try {
      const identity = verifier.verifyNow(token);
      assert.ok(identity);
      return identity.user;
    } catch (error) {
      assert.ok(error instanceof InvalidToken, String(error));
      return 'refused';
    }
  }
});

describe('keys', () => {
  it('in a JWKS file check RS256 and ES256, and never a token signed with the public key as a secret', async () => {
    const [rsa, ec, other] = await Promise.all([keyPair('RS256', 'r'), keyPair('ES256', 'e'), keyPair('ES256', 'o')]);
    const text = JSON.stringify({ keys: [rsa.jwk, ec.jwk] });
    const verifier = new TokenVerifier({ jwksFile: await fileWith(text) });
    assert.equal((await verifier.verify(await rsa.sign({ sub: 'ann' }))).user, 'ann');
    assert.equal((await verifier.verify(await ec.sign({ sub: 'bob' }))).user, 'bob');
    await refused(verifier, await other.sign({}), /no applicable key/);
    await refused(verifier, await hs256({}, text), /alg/);
    verifier.close();
  });

  it('rotate with their file, and the keys of before stay where the new file is none', async () => {
    const [old, fresh] = await Promise.all([keyPair('ES256', 'old'), keyPair('ES256', 'fresh')]);
    const jwksFile = await fileWith(JSON.stringify({ keys: [old.jwk] }));
    const problems: string[] = [];
    const verifier = new TokenVerifier(
      { jwksFile },
      { pollInterval: 10, onProblem: (problem) => problems.push(problem) },
    );
    await refused(verifier, await fresh.sign({}), /no applicable key/);
    // At once: between its truncation and its bytes a file is empty, which is another problem.
    writeFileSync(jwksFile, '{"keys":');
    await until('the problem is told', () => problems.length > 0);
    assert.match(problems[0]!, /is not a JWKS.*the last value stays in use/);
    await verifier.verify(await old.sign({}));
    writeFileSync(jwksFile, JSON.stringify({ keys: [fresh.jwk] }));
    const token = await fresh.sign({ sub: 'ann' });
    await until('the new key counts', () =>
      verifier.verify(token).then(
        () => true,
        () => false,
      ),
    );
    await refused(verifier, await old.sign({}), /no applicable key/);
    verifier.close();
  });

  it('that a file does not hold are no start', async () => {
    const missing = join(folder, 'missing');
    assert.throws(() => new TokenVerifier({ secretFile: missing }), /does not exist/);
    const text = await fileWith('not a JWKS');
    assert.throws(() => new TokenVerifier({ jwksFile: text }), /is not a JWKS: it must be JSON such as/);
  });

  it('as secrets are one a line: a rotation has both for a while', async () => {
    const secretFile = await fileWith('\uFEFFold secret\r\n\r\n  new secret \r\n');
    const verifier = new TokenVerifier({ secretFile });
    for (const secret of ['old secret', 'new secret', '  new secret '])
      assert.equal(verifier.verifyNow(await hs256({ sub: 'ann' }, secret))?.user, 'ann', secret);
    for (const secret of ['\uFEFFold secret', 'old secret\r\n', 'new', '\r', ' '])
      await refused(verifier, await hs256({}, secret), /signature/);
    verifier.close();
  });

  it('as a secret of bytes are one, line ends within included', async () => {
    const bytes = Buffer.from([0xff, 0x0a, 0x61, 0x0a, 0x00, 0x80]);
    const secretFile = join(folder, 'bytes');
    writeFileSync(secretFile, Buffer.concat([bytes, Buffer.from('\n')]));
    const verifier = new TokenVerifier({ secretFile });
    const sign = (secret: Buffer) => new SignJWT({}).setProtectedHeader({ alg: 'HS256' }).sign(secret);
    await verifier.verify(await sign(bytes));
    await refused(verifier, await sign(Buffer.from('a')), /signature/);
    verifier.close();
  });

  it('as a secret are refused where everyone could know them, or nobody could sign with them', async () => {
    const pem = await fileWith('-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----\n');
    assert.throws(() => new TokenVerifier({ secretFile: pem }), /is a PEM file: secretFile takes secrets for HS256/);
    const utf16 = join(folder, 'utf16');
    writeFileSync(utf16, Buffer.from('\uFEFFsecret', 'utf16le'));
    assert.throws(() => new TokenVerifier({ secretFile: utf16 }), /is UTF-16: save it as UTF-8/);
    for (const [text, problem] of [
      ['{\n  "keys": [{ "kty": "oct", "k": "AAAA" }]\n}\n', /is JSON: .*a JWKS is jwksFile/],
      ['# rotated in January\nthe real secret\n', /has a comment in line 1: every line is a secret/],
      [`${'QUJD'.repeat(16)}\nQUJDRA==\n`, /has one secret on lines 1 and 2: write it on one line/],
    ] as const) {
      const secretFile = await fileWith(text);
      assert.throws(() => new TokenVerifier({ secretFile }), problem);
    }
    const blank = await fileWith('\n \n');
    assert.throws(() => new TokenVerifier({ secretFile: blank }), /is empty/);
  });

  it('as a secret rotate with their file', async () => {
    const secretFile = await fileWith(SECRET);
    const verifier = new TokenVerifier({ secretFile }, { pollInterval: 10 });
    const other = `another ${SECRET}`;
    writeFileSync(secretFile, other);
    const token = await hs256({}, other);
    await until('the new key counts', () =>
      verifier.verify(token).then(
        () => true,
        () => false,
      ),
    );
    await refused(verifier, await hs256({}), /signature/);
    verifier.close();
  });
});

describe('keys by URL', () => {
  let server: Server;
  let url: string;
  let answer: { status: number; body: string };
  let hang: Promise<void> | undefined;

  before(async () => {
    // However late this machine is, no fetch is given up.
    mock.method(AbortSignal, 'timeout', () => new AbortController().signal);
    server = createServer(async (_request, response) => {
      await hang;
      response.writeHead(answer.status, { 'content-type': 'application/json' }).end(answer.body);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    assert.ok(address !== null && typeof address === 'object');
    url = `http://127.0.0.1:${address.port}/jwks.json`;
  });
  after(async () => {
    mock.restoreAll();
    await new Promise((resolve) => server.close(resolve));
  });

  it('are fetched when they are needed', async () => {
    const { jwk, sign } = await keyPair('RS256', 'r');
    answer = { status: 200, body: JSON.stringify({ keys: [jwk] }) };
    const verifier = new TokenVerifier({ jwksUrl: url });
    assert.equal((await verifier.verify(await sign({ sub: 'ann' }))).user, 'ann');
    verifier.close();
  });

  it('that can’t be had make a token unchecked, and not invalid', async () => {
    const { sign } = await keyPair('RS256', 'r');
    const token = await sign({});
    const unchecked = (verifier: TokenVerifier) =>
      assert.rejects(verifier.verify(token), (error) => !(error instanceof InvalidToken));
    for (answer of [
      { status: 500, body: '{}' },
      { status: 200, body: 'oops' },
      { status: 200, body: '{"keys":5}' },
    ])
      await unchecked(new TokenVerifier({ jwksUrl: url }));
    await unchecked(new TokenVerifier({ jwksUrl: 'http://127.0.0.1:1/jwks.json' }));
  });

  it('that hang make only so many wait, and the others unchecked at once', async () => {
    const { jwk, sign } = await keyPair('RS256', 'r');
    const token = await sign({ sub: 'ann' });
    const held = Promise.withResolvers<void>();
    hang = held.promise;
    answer = { status: 200, body: JSON.stringify({ keys: [jwk] }) };
    const verifier = new TokenVerifier({ jwksUrl: url });
    assert.equal(verifier.verifyNow(token), undefined);
    const waiting = Array.from({ length: 1_000 }, () => verifier.verify(token));
    await assert.rejects(verifier.verify(token), (error) => !(error instanceof InvalidToken));
    held.resolve();
    const users = await Promise.all(waiting);
    assert.ok(users.every(({ user }) => user === 'ann'));
    assert.equal((await verifier.verify(token)).user, 'ann');
    verifier.close();
  });

  it('are kept when other settings change, and fetched anew by another URL', async () => {
    const { jwk, sign } = await keyPair('RS256', 'r');
    answer = { status: 200, body: JSON.stringify({ keys: [jwk] }) };
    const jwt = { jwksUrl: url };
    const first = nextVerifier(undefined, jwt, {});
    assert.ok(first);
    await first.verify(await sign({ aud: 'live' }));
    assert.equal(nextVerifier(first, { ...jwt }, {}), first);
    answer = { status: 500, body: '' };
    const narrower = nextVerifier(first, { ...jwt, audience: 'live' }, {});
    assert.ok(narrower && narrower !== first);
    await narrower.verify(await sign({ aud: 'live' }));
    await refused(narrower, await sign({ aud: 'other' }), /aud/);
    const elsewhere = nextVerifier(narrower, { jwksUrl: `${url}?other` }, {});
    await assert.rejects(async () => elsewhere?.verify(await sign({})), { name: 'KeysUnavailable' });
    assert.equal(nextVerifier(narrower, undefined, {}), undefined);
  });
});
