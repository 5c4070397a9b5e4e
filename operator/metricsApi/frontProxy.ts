import { X509Certificate } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { z } from 'zod';
import { certificatesOf } from '../certificates/certificates.ts';

/** The user of a request, as authenticated by the API server. */
export type Caller = {
  name: string;
  uid: string | undefined;
  groups: readonly string[];
  extra: Readonly<Record<string, readonly string[]>>;
};

/** The front proxy of the API server: how to verify it, and the headers in which it names the user of a request. */
export type FrontProxy = {
  /** PEM of the CAs of its client certificate. If empty, no client is trusted. */
  authorities: readonly string[];
  /** Allowed common names of its client certificate. If empty, any is allowed. */
  names: readonly string[];
  /** Names of headers in lower case. If there are several, the first one that is present counts. */
  headers: {
    user: readonly string[];
    uid: readonly string[];
    group: readonly string[];
    extraPrefixes: readonly string[];
  };
};

/** Trusts no client. Used until the ConfigMap of the API server was read. */
export const NO_FRONT_PROXY: FrontProxy = {
  authorities: [],
  names: [],
  headers: { user: [], uid: [], group: [], extraPrefixes: [] },
};

/**
 * The ConfigMap that describes the front proxy. The role extension-apiserver-authentication-reader allows reading it.
 */
export const AUTHENTICATION_CONFIG = { namespace: 'kube-system', name: 'extension-apiserver-authentication' } as const;

const ConfigMap = z.object({ data: z.record(z.string(), z.string()).default({}) });
const Names = z.array(z.string());

/**
 * Parses the ConfigMap extension-apiserver-authentication.
 * @throws Error if it is invalid
 */
export function frontProxyIn(configMap: unknown): FrontProxy {
  const { data } = ConfigMap.parse(configMap);
  const list = (key: string) => namesIn(key, data[key]);
  const headers = (key: string) => list(key).map((name) => name.toLowerCase());
  const authorities = certificatesOf(data['requestheader-client-ca-file'] ?? '');
  // Reports an invalid certificate now rather than at each connection.
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

/** Whether a client with a verified certificate is the front proxy. @param commonName of the certificate */
export function isFrontProxy({ authorities, names }: FrontProxy, commonName: string): boolean {
  return authorities.length > 0 && (names.length === 0 || names.includes(commonName));
}

/**
 * The user that the front proxy names; undefined if it names none.
 * @param headers all values by name in lower case: `IncomingMessage.headersDistinct`
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

/** Adds the group system:authenticated, which default role bindings refer to. The front proxy may leave it out. */
export function authenticated(caller: Caller): Caller {
  if (caller.name === ANONYMOUS || caller.groups.some((group) => AUTHENTICATED_GROUPS.includes(group))) return caller;
  return { ...caller, groups: [...caller.groups, 'system:authenticated'] };
}

function namesIn(key: string, text: string | undefined): string[] {
  if (text === undefined || text === '') return [];
  try {
    return Names.parse(JSON.parse(text));
  } catch (cause) {
    throw new Error(`${key} of the ConfigMap extension-apiserver-authentication is not a JSON array of strings`, {
      cause,
    });
  }
}

/** Decodes keys of extra values, which may contain characters that are not allowed in headers. */
function unescaped(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
