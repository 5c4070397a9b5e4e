import { CloseCode } from '@pushcluster/protocol/closeCodes.ts';
import type { Identity } from './identity.ts';
import { originAllowed, originRefusal } from './origin.ts';
import type { Refusal } from './refusal.ts';

/** The only version of the WebSocket protocol (RFC 6455, 4.1). */
export const WEBSOCKET_VERSION = '13';

export const WRONG_VERSION: Refusal = {
  status: 426,
  code: 'version',
  detail: `only version ${WEBSOCKET_VERSION} of the WebSocket protocol is supported`,
};
const RATE: Refusal = { status: 429, code: 'rate', detail: 'too many handshakes per second' };
const PER_ADDRESS: Refusal = { status: 429, code: 'per_ip', detail: 'too many connections from this address' };
const NO_TOKENS = invalidToken('this gateway does not accept tokens');
const TOKEN_UNCHECKED: Refusal = {
  status: 503,
  code: 'token_unchecked',
  detail: 'the token cannot be checked at the moment',
};

/** What the client's request says. */
export type Handshake = {
  /** Sec-WebSocket-Version. */
  readonly version: string;
  /** Origin; '' if there is none. */
  readonly origin: string;
  /** From Authorization or the query; '' if there is none. */
  readonly token: string;
};

/** The result of a token's check. */
export type TokenResult =
  | { type: 'valid'; identity: Identity }
  /** @param reason a sentence that is safe to show */
  | { type: 'invalid'; reason: string }
  /** The keys are unavailable. */
  | { type: 'unchecked' };

/** What must be checked before the decision. Each check changes something, takes time, or both. */
export type Check =
  /** Takes a token of the accept rate: true if there was one. */
  | 'rate'
  /** Checks the client's token, at once or later. */
  | 'token'
  /** Asks the hub to count one more connection of the client's address: true if it did. */
  | 'address';

export type CheckResults = { rate?: boolean; token?: TokenResult; address?: boolean };

export type AdmissionState = {
  /** `auth.allowedOrigins`. */
  readonly allowedOrigins: readonly string[];
  /** A connection without a token is allowed. */
  readonly anonymous: boolean;
  /** There is a key source: tokens can be checked. */
  readonly checksTokens: boolean;
  /** Connections per address are limited: the hub counts them over all shards. */
  readonly limitsAddresses: boolean;
  /** Why this shard takes no connection now. Read only if everything before it is in order. */
  readonly overload: Refusal | undefined;
  /** The results so far. */
  readonly results: Readonly<CheckResults>;
};

export type Decision =
  /** Without an identity the connection must send AUTH. */
  | { type: 'accept'; identity: Identity | undefined }
  | { type: 'refuse'; refusal: Refusal }
  /** Decide again with the result of this check. */
  | { type: 'check'; check: Check };

/**
 * Decides on a handshake of `/connect`: the one place where its admission is decided. (The echo has rules of its own, in
 * echoEndpoint.ts.) Cheap reasons to refuse come first, and nothing is checked for a handshake that is refused anyway. A
 * refusal with a close code costs as much as a connection, so it comes after overload and the rate. Whoever was not
 * refused at first is held against `overload` again at the end: others may have connected while the results were awaited.
 */
export function decideHandshake(handshake: Handshake, state: AdmissionState): Decision {
  const { results } = state;
  if (results.rate === undefined) {
    if (handshake.version !== WEBSOCKET_VERSION) return refuse(WRONG_VERSION);
    const { overload } = state;
    return overload ? refuse(overload) : checkFirst('rate');
  }
  if (!results.rate) return refuse(RATE);
  if (!originAllowed(handshake.origin, state.allowedOrigins)) return refuse(originRefusal(handshake.origin));
  if (handshake.token !== '') {
    // Without a key source a token can't be checked. Taking it for valid would be worse than refusing it.
    if (!state.checksTokens && !state.anonymous) return refuse(NO_TOKENS);
    if (state.checksTokens && !results.token) return checkFirst('token');
    if (results.token?.type === 'invalid') return refuse(invalidToken(results.token.reason));
    if (results.token?.type === 'unchecked') return refuse(TOKEN_UNCHECKED);
  }
  if (state.limitsAddresses) {
    if (results.address === undefined) return checkFirst('address');
    if (!results.address) return refuse(PER_ADDRESS);
  }
  const { overload } = state;
  if (overload) return refuse(overload);
  if (results.token?.type === 'valid') return { type: 'accept', identity: results.token.identity };
  return { type: 'accept', identity: state.anonymous ? { expires: 0, anonymous: true } : undefined };
}

function refuse(refusal: Refusal): Decision {
  return { type: 'refuse', refusal };
}

function checkFirst(check: Check): Decision {
  return { type: 'check', check };
}

function invalidToken(reason: string): Refusal {
  return { status: 401, code: 'token', detail: reason, closeCode: CloseCode.unauthorized };
}
