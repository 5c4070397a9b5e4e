import type { Subprotocol } from '@pushcluster/protocol/wireForms.ts';
import { needed, wrong } from './argument.ts';
import { type Backoff, defaultBackoff } from './backoff.ts';
import { type Clock, MAX_DELAY, systemClock } from './clock.ts';
import type { SocketConstructor } from './connection.ts';
import type { ReconnectorConfig } from './reconnector.ts';
import type { TokenSource } from './token.ts';

/** Whatever is absent, undefined or null means its default. Durations in milliseconds; one beyond 2^31 - 1 means that. */
export type PushOptions = {
  /** A JWT, or what gives one: called at each connect, and before the last one expires. */
  token?: TokenSource | null | undefined;
  /** Take frames compressed where the platform can inflate them. Default true. */
  compression?: boolean | null | undefined;
  /** Subprotocols to offer in place of the usual; `[]` speaks as go-push clients do: no moves, repeats not dropped. */
  protocols?: readonly string[] | null | undefined;
  /** Default: the platform's. */
  WebSocket?: SocketConstructor | null | undefined;
  /** Default: `{ base: 500, cap: 30000, stable: 10000 }`. */
  backoff?: { [Name in keyof Backoff]?: number | null | undefined } | null | undefined;
  /** Items that wait for a slow `for await` at most, at least 1; then the oldest go, and `lagged` tells. Default 1000. */
  queueLimit?: number | null | undefined;
  /** Until a handshake counts as failed. Default 10,000. */
  openTimeout?: number | null | undefined;
  /** Silence until the gateway is asked for a sign of life. Default 40,000. */
  idleTimeout?: number | null | undefined;
  /** That it may take to answer. Default 10,000. */
  probeTimeout?: number | null | undefined;
  /** Closes the client when it aborts. */
  signal?: AbortSignal | null | undefined;
  /** 0 to 1, for jitter. Default: Math.random, also where it is no function, gives something else or throws. */
  random?: (() => number) | null | undefined;
  clock?: Clock | null | undefined;
};

export type Config = { reconnector: ReconnectorConfig; queueLimit: number; signal: AbortSignal | undefined };

const V1: typeof Subprotocol.v1 = 'pushcluster.v1';
const DEFLATE: typeof Subprotocol.deflate = 'pushcluster.v1.deflate';

const NUMBERS = { queueLimit: 1_000, openTimeout: 10_000, idleTimeout: 40_000, probeTimeout: 10_000 };

/** A token of HTTP (RFC 9110, 5.6.2), which a subprotocol has to be. */
const SUBPROTOCOL = /^[!#$%&'*+.^`|~\w-]+$/;

/**
 * What a page passes, looked at once: each option is read a single time, and is right, its default, or refused.
 *
 * @param base what relative addresses refer to
 * @throws TypeError where something can't be used, Error where the platform has no WebSocket
 */
export function configOf(url: unknown, options: PushOptions | null | undefined, base: string | undefined): Config {
  const { token, compression, protocols, backoff, signal, random, clock, WebSocket } = options ?? {};
  const Socket = WebSocket ?? globalThis.WebSocket;
  if (Socket === undefined) throw new Error('This platform has no WebSocket: pass one as the option WebSocket.');
  needed('function', 'WebSocket', Socket);
  if (token != null && typeof token !== 'function') needed('string', 'token', token);
  const { queueLimit, ...timeouts } = numbers(options, NUMBERS, 1);
  return {
    reconnector: {
      connection: {
        url: addressOf(url, base),
        protocols: subprotocols(protocols) ?? ((compression ?? true) && canInflate() ? [DEFLATE, V1] : [V1]),
        WebSocket: Socket,
        token: token ?? undefined,
        clock: clock ?? systemClock,
        ...timeouts,
      },
      backoff: numbers(backoff, defaultBackoff, 0, 'backoff.'),
      random: () => chance(random),
    },
    queueLimit,
    signal: signal ?? undefined,
  };
}

function addressOf(url: unknown, base: string | undefined): URL {
  const text = (url as URL | undefined)?.href ?? url;
  needed('string', 'url', text);
  const address = new URL(text as string, base);
  address.protocol = address.protocol.replace('http', 'ws');
  address.hash = '';
  if (!/^wss?:$/.test(address.protocol)) throw wrong('url', 'a ws: or wss: address', text);
  return address;
}

/** What `given` says by the names of `defaults`. */
function numbers<Names extends string>(
  given: { [Name in NoInfer<Names>]?: unknown } | null | undefined,
  defaults: Record<Names, number>,
  least: number,
  place = '',
): Record<Names, number> {
  const is = { ...defaults };
  for (const name in defaults) {
    const value = given?.[name] ?? is[name];
    if (!(typeof value === 'number' && value >= least)) throw wrong(place + name, `a number from ${least}`, value);
    is[name] = Math.min(value, MAX_DELAY);
  }
  return is;
}

function subprotocols(protocols: readonly string[] | null | undefined): string[] | undefined {
  if (protocols == null) return undefined;
  if (!Array.isArray(protocols)) throw wrong('protocols', 'an array', protocols);
  for (const name of protocols)
    if (!SUBPROTOCOL.test(name)) throw wrong('protocols', 'an array of names without spaces', name);
  return [...new Set(protocols)];
}

function chance(random: (() => number) | null | undefined): number {
  try {
    const value = random?.();
    if (typeof value === 'number' && value >= 0 && value <= 1) return value;
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
