import { X509Certificate } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { z } from 'zod';
import { certificatesOf } from './certificates.ts';

/** Somebody who asks, as the API server knows users. */
export type Caller = {
  name: string;
  uid: string | undefined;
  groups: readonly string[];
  extra: Readonly<Record<string, readonly string[]>>;
};

/** Whom to believe when it says who is asking, and how it says so: the API server's front proxy. */
export type FrontProxy = {
  /** Authorities of its client certificate, as PEM. Empty: nobody is believed. */
  authorities: readonly string[];
  /** Common names that it may have; empty: any of those authorities. */
  names: readonly string[];
  /** Header names, lower case; of several the first that is there counts. */
  headers: {
    user: readonly string[];
    uid: readonly string[];
    group: readonly string[];
    extraPrefixes: readonly string[];
  };
};

/** Believes nobody: what counts until the API server's ConfigMap was read. */
export const NO_FRONT_PROXY: FrontProxy = {
  authorities: [],
  names: [],
  headers: { user: [], uid: [], group: [], extraPrefixes: [] },
};

/** Where the API server says how it shows itself: to be read by whoever has the role extension-apiserver-authentication-reader. */
export const AUTHENTICATION_CONFIG = { namespace: 'kube-system', name: 'extension-apiserver-authentication' } as const;

const ConfigMap = z.object({ data: z.record(z.string(), z.string()).default({}) });
const Names = z.array(z.string());

/**
 * Reads the ConfigMap extension-apiserver-authentication.
 * @throws Error with a sentence where it is not in its form
 */
export function frontProxyIn(configMap: unknown): FrontProxy {
  const { data } = ConfigMap.parse(configMap);
  const list = (key: string) => namesIn(key, data[key]);
  const headers = (key: string) => list(key).map((name) => name.toLowerCase());
  const authorities = certificatesOf(data['requestheader-client-ca-file'] ?? '');
  // One that is none is said now, and not at each connection.
  for (const authority of authorities) new X509Certificate(authority);
  return {
    authorities,
    names: list('requestheader-allowed-names'),
    headers: {
      user: headers('requestheader-username-headers'),
      uid: headers('requestheader-uid-headers'),
      group: headers('requestheader-group-headers'),
      extraPrefixes: headers('requestheader-extra-headers-prefix'),
    },
  };
}

/** Whether a client whose certificate one of the authorities has signed may speak for others. */
export function mayVouch({ authorities, names }: FrontProxy, commonName: string): boolean {
  return authorities.length > 0 && (names.length === 0 || names.includes(commonName));
}

/**
 * Who the front proxy says is asking; undefined where it names nobody.
 * @param headers each with all its values, in lower case: `IncomingMessage.headersDistinct`
 */
export function callerOf({ headers: names }: FrontProxy, headers: NodeJS.Dict<string[]>): Caller | undefined {
  const first = (of: readonly string[]) =>
    of.map((name) => headers[name]?.[0]).find((value) => value !== undefined && value !== '');
  const name = first(names.user);
  if (name === undefined) return undefined;
  const extra = new Map<string, string[]>();
  for (const prefix of names.extraPrefixes)
    for (const [header, values = []] of Object.entries(headers))
      if (header.startsWith(prefix) && header.length > prefix.length) {
        const key = unescaped(header.slice(prefix.length));
        extra.set(key, [...(extra.get(key) ?? []), ...values]);
      }
  const groups = names.group.flatMap((header) => headers[header] ?? []);
  return authenticated({ name, uid: first(names.uid), groups, extra: Object.fromEntries(extra) });
}

/** The token of `Authorization: Bearer …`. */
export function bearerOf({ authorization = '' }: IncomingHttpHeaders): string | undefined {
  return /^Bearer +(\S+) *$/i.exec(authorization)?.[1];
}

const ANONYMOUS = 'system:anonymous';
const AUTHENTICATED_GROUPS = ['system:authenticated', 'system:unauthenticated'];

/** Whoever was recognised is in a group that Kubernetes' own roles are bound to; the front proxy may leave it out. */
export function authenticated(caller: Caller): Caller {
  if (caller.name === ANONYMOUS || caller.groups.some((group) => AUTHENTICATED_GROUPS.includes(group))) return caller;
  return { ...caller, groups: [...caller.groups, 'system:authenticated'] };
}

function namesIn(key: string, text: string | undefined): string[] {
  if (text === undefined || text === '') return [];
  try {
    return Names.parse(JSON.parse(text));
  } catch (cause) {
    throw new Error(`${key} of the ConfigMap extension-apiserver-authentication is no JSON list of texts`, { cause });
  }
}

/** Keys of extra values may have characters that headers may not. */
function unescaped(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
