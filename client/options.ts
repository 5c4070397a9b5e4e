import type { Subprotocol } from '@pushcluster/protocol/wireForms.ts';
import { checkSignal, needed, optional, optionsOf, wrong } from './argument.ts';
import { type Backoff, defaultBackoff } from './backoff.ts';
import { type Clock, MAX_DELAY, systemClock } from './clock.ts';
import type { SocketConstructor } from './connection.ts';
import { Emitter } from './emitter.ts';
import type { ReconnectorConfig } from './reconnector.ts';
import type { TokenSource } from './token.ts';

/** An option that is absent, undefined or null has its default. Durations in milliseconds, at most 2^31 - 1. */
export type PushOptions = {
  /** A JWT, or a function that returns one: called before each connect, and before the current token expires. */
  token?: TokenSource | null | undefined;
  /** Receive compressed frames, if the platform can inflate them. Default true. */
  compression?: boolean | null | undefined;
  /** Subprotocols to offer instead of the default ones. With `[]` the client speaks like go-push's: no moves, no repeats dropped. */
  protocols?: readonly string[] | null | undefined;
  /** WebSocket constructor. Default: the platform's. */
  WebSocket?: SocketConstructor | null | undefined;
  /** Default: `{ base: 500, cap: 30000, stable: 10000 }`. */
  backoff?: { [Name in keyof Backoff]?: number | null | undefined } | null | undefined;
  /** Items that may wait for a slow `for await`, at least 1. Beyond, the oldest are dropped and `lagged` is emitted. Default 1000. */
  queueLimit?: number | null | undefined;
  /** Time until a handshake counts as failed. Default 10,000. */
  openTimeout?: number | null | undefined;
  /** Time without a frame after which the client sends a PING. Default 40,000. */
  idleTimeout?: number | null | undefined;
  /** Time that the gateway has to answer a PING. Default 10,000. */
  probeTimeout?: number | null | undefined;
  /** Closes the client when it aborts. */
  signal?: AbortSignal | null | undefined;
  /** Random numbers from 0 to 1, for jitter. Math.random is used by default, and if this returns something else or throws. */
  random?: (() => number) | null | undefined;
  /** The clock of all timeouts, for tests. */
  clock?: Clock | null | undefined;
};

export type Config = ReconnectorConfig & { queueLimit: number; signal: AbortSignal | null | undefined };

const V1: typeof Subprotocol.v1 = 'pushcluster.v1';
const DEFLATE: typeof Subprotocol.deflate = 'pushcluster.v1.deflate';

const NUMBERS = { queueLimit: 1_000, openTimeout: 10_000, idleTimeout: 40_000, probeTimeout: 10_000 };

/** A subprotocol is a token of HTTP (RFC 9110, 5.6.2). */
const SUBPROTOCOL = /^[!#-'*+.^`|~\w-]+$/;

/**
 * Checks the options. Each option is read once: it is valid, has its default, or is refused.
 *
 * @param base URL that a relative `url` refers to
 * @throws TypeError, which names the argument, if one is not valid, or absent as the WebSocket of an old platform
 */
export function configOf(url: unknown, options: PushOptions | null | undefined, base: string | undefined): Config {
  const given = optionsOf('options', options);
  const { token, compression, protocols, backoff, signal, random, WebSocket } = given;
  const clock = given.clock ?? systemClock;
  const Socket = WebSocket ?? globalThis.WebSocket;
  needed('function', 'WebSocket', Socket);
  if (typeof token !== 'function') optional('string', 'token', token);
  optional('boolean', 'compression', compression);
  optional('function', 'random', random);
  needed('function', 'clock.now', clock.now);
  needed('function', 'clock.after', clock.after);
  optional('function', 'clock.wall', clock.wall);
  checkSignal(signal);
  return {
    url: addressOf(url, base),
    protocols: subprotocols(protocols) ?? (compression !== false && canInflate() ? [DEFLATE, V1] : [V1]),
    WebSocket: Socket,
    token,
    clock,
    events: new Emitter(),
    signal,
    backoff: numbers(optionsOf('backoff', backoff), defaultBackoff, 0, 'backoff.'),
    random: () => chance(random),
    ...numbers(given, NUMBERS, 1),
  };
}

function addressOf(url: unknown, base: string | undefined): URL {
  const text = (url as URL | undefined)?.href ?? url;
  needed('string', 'url', text);
  try {
    const address = new URL(text as string, base);
    address.protocol = address.protocol.replace('http', 'ws');
    address.hash = '';
    if (/^wss?:$/.test(address.protocol)) return address;
  } catch {
    // Each platform has a sentence of its own, which does not name the argument.
  }
  throw wrong('url', 'a ws: or wss: URL', text);
}

/** The numbers of `given` that `defaults` names. @param place prefix of the names in an error */
function numbers<Names extends string>(
  given: { [Name in NoInfer<Names>]?: unknown },
  defaults: Record<Names, number>,
  least: number,
  place = '',
): Record<Names, number> {
  const is = { ...defaults };
  for (const name in defaults) {
    const value = given[name] ?? is[name];
    if (!(typeof value === 'number' && value >= least)) throw wrong(place + name, `a number from ${least}`, value);
    is[name] = Math.min(value, MAX_DELAY);
  }
  return is;
}

function subprotocols(protocols: readonly string[] | null | undefined): string[] | undefined {
  if (protocols == null) return undefined;
  // Copied, so that holes are looked at too.
  if (!Array.isArray(protocols) || ![...protocols].every((name) => typeof name === 'string' && SUBPROTOCOL.test(name)))
    throw wrong('protocols', 'an array of subprotocols', protocols);
  return [...new Set(protocols)];
}

function chance(random: (() => number) | null | undefined): number {
  try {
    const value = +random!();
    if (value >= 0 && value <= 1) return value;
  } catch {}
  return Math.random();
}

function canInflate(): boolean {
  try {
    return Boolean(new DecompressionStream('deflate-raw'));
  } catch {
    return false;
  }
}
