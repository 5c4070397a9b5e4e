import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type AdmissionState, type Decision, decideHandshake, type Handshake } from './decideHandshake.ts';
import { REFUSED_HANDSHAKES, type Refusal } from './refusal.ts';

const HANDSHAKE: Handshake = { version: '13', origin: '', token: '' };
/** Everything is allowed, and nothing is checked but the rate. */
const OPEN: AdmissionState = {
  allowedOrigins: [],
  anonymous: true,
  checksTokens: false,
  limitsAddresses: false,
  overload: undefined,
  results: {},
};
const FULL: Refusal = { status: 503, code: 'full', detail: 'full' };
const IDENTITY = { user: 'u', expires: 7 };
const VALID = { type: 'valid', identity: IDENTITY } as const;
const INVALID = { type: 'invalid', reason: 'it has expired' } as const;

type Case = {
  handshake?: Partial<Handshake>;
  state?: Partial<AdmissionState>;
  /** What comes out: a refusal as `code status closeCode`, a check, or `accept`. */
  gives: string;
};

function outcome(decision: Decision): string {
  if (decision.type === 'check') return `check ${decision.check}`;
  if (decision.type === 'accept') return 'accept';
  const { code, status, closeCode } = decision.refusal;
  return `${code} ${status} ${closeCode ?? '-'}`;
}

const overloads = (['full', 'memory', 'fds', 'loop', 'handshakes'] as const).map((code): Case => {
  return { state: { overload: { status: 503, code, detail: code } }, gives: `${code} 503 -` };
});

const strict = { anonymous: false, checksTokens: true };
const CASES: Record<string, Case[]> = {
  'is refused for what the request says before anything is checked': [
    { handshake: { version: '8' }, gives: 'version 426 -' },
    {
      handshake: { version: '8', origin: 'https://b.example' },
      state: { allowedOrigins: ['x'] },
      gives: 'version 426 -',
    },
  ],
  'is refused under overload, after its version and before the rate': [
    ...overloads,
    { handshake: { version: '' }, state: { overload: FULL }, gives: 'version 426 -' },
  ],
  'is refused for its origin only once it has taken of the rate: that refusal may be a WebSocket': [
    { handshake: { origin: 'y' }, state: { allowedOrigins: ['x'] }, gives: 'check rate' },
    { handshake: { origin: 'y' }, state: { allowedOrigins: ['x'], overload: FULL }, gives: 'full 503 -' },
    { handshake: { origin: 'y' }, state: { allowedOrigins: ['x'], results: { rate: false } }, gives: 'rate 429 -' },
    {
      handshake: { origin: 'https://b.example', token: 't' },
      state: { ...strict, allowedOrigins: ['https://a.example'], results: { rate: true } },
      gives: 'origin 403 4403',
    },
    {
      handshake: { origin: 'https://a.example' },
      state: { allowedOrigins: ['https://a.example'], results: { rate: true } },
      gives: 'accept',
    },
  ],
  'is refused over the accept rate before its token or address is looked at': [
    { gives: 'check rate' },
    { state: { results: { rate: false } }, gives: 'rate 429 -' },
    {
      handshake: { token: 't' },
      state: { ...strict, limitsAddresses: true, results: { rate: false } },
      gives: 'rate 429 -',
    },
  ],
  'has its token checked, if there is one and it can be': [
    { handshake: { token: 't' }, state: { ...strict, results: { rate: true } }, gives: 'check token' },
    { handshake: { token: 't' }, state: { checksTokens: true, results: { rate: true } }, gives: 'check token' },
    { handshake: { token: 't' }, state: { anonymous: false, results: { rate: true } }, gives: 'token 401 4401' },
    { handshake: { token: 't' }, state: { results: { rate: true } }, gives: 'accept' },
    { state: { ...strict, results: { rate: true } }, gives: 'accept' },
    { handshake: { token: 't' }, state: { ...strict, results: { rate: true, token: VALID } }, gives: 'accept' },
    {
      handshake: { token: 't' },
      state: { ...strict, results: { rate: true, token: INVALID } },
      gives: 'token 401 4401',
    },
    {
      handshake: { token: 't' },
      state: { ...strict, results: { rate: true, token: { type: 'unchecked' } } },
      gives: 'token_unchecked 503 -',
    },
  ],
  'is counted by its address last': [
    {
      handshake: { token: 't' },
      state: { ...strict, limitsAddresses: true, results: { rate: true } },
      gives: 'check token',
    },
    {
      handshake: { token: 't' },
      state: { ...strict, limitsAddresses: true, results: { rate: true, token: VALID } },
      gives: 'check address',
    },
    { state: { limitsAddresses: true, results: { rate: true } }, gives: 'check address' },
    { state: { limitsAddresses: true, results: { rate: true, address: false } }, gives: 'per_ip 429 -' },
    { state: { limitsAddresses: true, results: { rate: true, address: true } }, gives: 'accept' },
  ],
  'is refused under an overload that began while it waited, but for its own fault first': [
    { state: { overload: FULL, limitsAddresses: true, results: { rate: true, address: true } }, gives: 'full 503 -' },
    {
      state: { overload: FULL, limitsAddresses: true, results: { rate: true, address: false } },
      gives: 'per_ip 429 -',
    },
    {
      handshake: { token: 't' },
      state: { ...strict, overload: FULL, results: { rate: true, token: VALID } },
      gives: 'full 503 -',
    },
    {
      handshake: { token: 't' },
      state: { ...strict, overload: FULL, results: { rate: true, token: INVALID } },
      gives: 'token 401 4401',
    },
  ],
};

const decided = ({ handshake, state }: Case) => decideHandshake({ ...HANDSHAKE, ...handshake }, { ...OPEN, ...state });

describe('a handshake', () => {
  for (const [name, cases] of Object.entries(CASES))
    it(name, () => {
      for (const one of cases) assert.equal(outcome(decided(one)), one.gives, JSON.stringify(one));
    });

  it('can be refused by each code of the metric, but for one that ends a socket before there is a handshake', () => {
    const given = new Set(Object.values(CASES).flatMap((cases) => cases.map(({ gives }) => gives.split(' ')[0]!)));
    for (const code of REFUSED_HANDSHAKES)
      if (code !== 'proxy_header') assert.ok(given.has(code), `no case of ${code}`);
  });

  it('brings the identity of its token, that of an anonymous client, or none: then AUTH must come', () => {
    const identity = (one: Omit<Case, 'gives'>) => {
      const decision = decided({ ...one, gives: '' });
      assert.ok(decision.type === 'accept');
      return decision.identity;
    };
    const results = { rate: true };
    assert.deepEqual(
      identity({ handshake: { token: 't' }, state: { checksTokens: true, results: { ...results, token: VALID } } }),
      IDENTITY,
    );
    assert.deepEqual(identity({ state: { results } }), { expires: 0, anonymous: true });
    assert.deepEqual(identity({ handshake: { token: 't' }, state: { results } }), { expires: 0, anonymous: true });
    assert.equal(identity({ state: { ...strict, results } }), undefined);
  });

  it('is not held against overload where it is refused for what it says: to look counts descriptors', () => {
    const state = {
      ...OPEN,
      get overload(): undefined {
        throw new Error('looked at');
      },
    };
    assert.equal(outcome(decideHandshake({ ...HANDSHAKE, version: '8' }, state)), 'version 426 -');
  });
});
