import type { PushCluster } from '../api/pushCluster.ts';
import { type Certificates, certificatesIn, certificatesOf, renewed, startOf } from '../certificates/certificates.ts';
import { managedNats, natsTlsSecret } from './desired/bus.ts';
import type { Context, ServersTls } from './desired/context.ts';
import { names } from './desired/names.ts';
import { fingerprintOf, fingerprintOfOwn, natsDnsNames } from './desired/natsTls.ts';
import { InvalidSettings } from './desired/validSettings.ts';

/** A serving certificate is valid for 90 days. */
const LASTS_MS = 90 * 86_400_000;
/** Pods read a new CA at their next connection to NATS. Nothing is signed by it before that, with a margin. */
const AUTHORITY_KNOWN_MS = 3_600_000;
/** Interval of looking whether a certificate has to be renewed, milliseconds. */
const CHECK_MS = 3_600_000;
/** The same during a change, in addition to each change of a workload. */
const CHANGE_CHECK_MS = 10_000;

/** What servers accept: connections without TLS, with it, or both. */
type Accepts = 'plain' | 'both' | 'tls';

/** Servers as their StatefulSet was applied. */
export type ServersSeen = {
  accepts: Accepts;
  /** With their certificate. */
  secretName?: string | undefined;
  fingerprint?: string | undefined;
  /** All of them run so, and are ready. */
  isSettled: boolean;
};

/** How the servers of a cluster and their clients are set up. */
export type TlsSeen = {
  /** Undefined if there are no servers yet. */
  servers: ServersSeen | undefined;
  /** The Secrets whose CA gateways and logic trust, as their Deployments say; undefined for those without TLS. */
  deployed: ReadonlySet<string | undefined>;
  /** The same of all pods, also terminating ones. */
  running: ReadonlySet<string | undefined>;
  /** Pods of an older template are left. */
  isReplacing: boolean;
};

export type TlsPlan = {
  /** The cluster with the TLS that gateways and logic are to use now. */
  cluster: PushCluster;
  servers: Omit<ServersTls, 'fingerprint'> | undefined;
  /** Whether the cluster asks for TLS. */
  isAsked: boolean;
  /** The cluster has not got yet what it asks for. */
  isUnderWay: boolean;
};

/** @param text the annotation of the StatefulSet */
export function serversSeen(text: string | undefined, isSettled: boolean): ServersSeen {
  const [mode, secretName, fingerprint] = text?.split(' ') ?? [];
  if (mode !== 'optional' && mode !== 'required') return { accepts: 'plain', isSettled };
  return { accepts: mode === 'optional' ? 'both' : 'tls', secretName, fingerprint, isSettled };
}

/**
 * Turns TLS on or off in steps: servers accept both, then gateways and logic are rolled out, then servers accept only
 * what all of them use. Each step begins once the one before is seen to be done.
 */
export function planTls(cluster: PushCluster, seen: TlsSeen): TlsPlan {
  const managed = managedNats(cluster);
  if (managed === undefined) return { cluster, servers: undefined, isAsked: false, isUnderWay: false };
  const asked = natsTlsSecret(cluster);
  const used = new Set([...seen.deployed, ...seen.running]);
  const other = [...used].find((each) => each !== undefined && each !== asked);
  // From one CA to another by no TLS: nobody trusts both.
  const wanted = other === undefined ? asked : undefined;
  const { servers } = seen;
  const clients = isServed(servers, wanted, seen.deployed) ? wanted : (other ?? otherOf(used, wanted));
  const isUniform = [...used].every((each) => each === wanted);
  const only = wanted === undefined ? 'plain' : 'tls';
  const isDone = isUniform && (servers === undefined || servers.accepts === only || !seen.isReplacing);
  const accepts: Accepts = isDone ? only : 'both';
  const secretName = other ?? asked ?? names(cluster).natsTls;
  const routes = managed.tls?.routes ?? true;
  return {
    cluster: withClientTls(cluster, clients),
    servers:
      accepts === 'plain'
        ? undefined
        : { isOptional: accepts === 'both', routes: routes && accepts === 'tls', secretName },
    isAsked: asked !== undefined,
    isUnderWay: accepts === 'both' || wanted !== asked,
  };
}

/** Whether clients may connect as wanted: all servers accept it, or some clients do it already. */
function isServed(servers: TlsSeen['servers'], wanted: string | undefined, deployed: TlsSeen['deployed']): boolean {
  if (servers === undefined) return true;
  const { accepts, secretName } = servers;
  const isAccepted = wanted === undefined ? accepts !== 'tls' : accepts !== 'plain' && secretName === wanted;
  return isAccepted && (servers.isSettled || deployed.has(wanted));
}

/** What clients use that do not connect as wanted. */
function otherOf(used: ReadonlySet<string | undefined>, wanted: string | undefined): string | undefined {
  return used.size === 0 ? wanted : [...used].find((each) => each !== wanted);
}

function withClientTls(cluster: PushCluster, secretName: string | undefined): PushCluster {
  const managed = managedNats(cluster);
  if (managed === undefined || natsTlsSecret(cluster) === secretName) return cluster;
  const { routes = true } = managed.tls ?? {};
  const tls = secretName === undefined ? { enabled: false, routes } : { enabled: true, routes, secretName };
  return { ...cluster, spec: { ...cluster.spec, nats: { ...cluster.spec.nats, managed: { ...managed, tls } } } };
}

/** Milliseconds after which to look again. */
export function tlsAgainIn({ servers, isUnderWay }: TlsPlan): number | undefined {
  if (isUnderWay) return CHANGE_CHECK_MS;
  return servers === undefined ? undefined : CHECK_MS;
}

/** What is under way, for the status. */
export function tlsMessage({ isAsked, isUnderWay }: TlsPlan): string | undefined {
  return isUnderWay ? `TLS of NATS is being turned ${isAsked ? 'on' : 'off'}` : undefined;
}

export type TlsSources = {
  seen: ServersSeen | undefined;
  /** Data of the Secret that the operator makes, if there is one. */
  own: Readonly<Record<string, string>> | undefined;
  /** Data of the Secret of somebody else that the servers use; undefined if there is none. */
  given: Readonly<Record<string, string>> | undefined;
  /** Milliseconds since 1970. */
  now: number;
};

/**
 * TLS of the servers, and the certificates to keep for them, renewed if need be.
 * @throws InvalidSettings if the Secret that the cluster names is not complete
 */
export function serversTlsOf(
  { cluster, servers }: Pick<TlsPlan, 'cluster' | 'servers'>,
  { seen, own, given, now }: TlsSources,
): NonNullable<Context['natsTls']> {
  if (servers === undefined) {
    // Servers that were not restarted yet still mount the Secret.
    const isUsed = own !== undefined && seen !== undefined && (seen.accepts !== 'plain' || !seen.isSettled);
    return { servers, certificates: isUsed ? certificatesIn(own) : undefined };
  }
  if (servers.secretName !== names(cluster).natsTls) {
    const missing = ['tls.crt', 'tls.key', 'ca.crt'].filter((key) => !given?.[key]);
    if (given === undefined || missing.length > 0)
      throw new InvalidSettings(
        `nats.managed.tls.secretName: Secret ${servers.secretName} ${given === undefined ? 'does not exist' : `has no ${missing.join(' and no ')}`}`,
      );
    return { servers: { ...servers, fingerprint: fingerprintOf(given) }, certificates: undefined };
  }
  const isRunning = (certificates: Certificates) =>
    seen?.isSettled === true && seen.fingerprint === fingerprintOfOwn(certificates);
  const certificates = natsCertificates(cluster, own, now, isRunning);
  return { servers: { ...servers, fingerprint: fingerprintOfOwn(certificates) }, certificates };
}

/**
 * The certificates that the operator makes for the servers, renewed if need be.
 * @param data of the Secret with them
 * @param isRunning whether all servers run with the certificates in it
 */
export function natsCertificates(
  cluster: PushCluster,
  data: Readonly<Record<string, string>> | undefined,
  now: number,
  isRunning: (certificates: Certificates) => boolean,
): Certificates {
  const { name, namespace } = cluster.metadata;
  const kept = data && certificatesIn(data);
  const [newest] = kept ? certificatesOf(kept.bundle) : [];
  const isKnown =
    kept !== undefined && newest !== undefined && now - startOf(newest) >= AUTHORITY_KNOWN_MS && isRunning(kept);
  return renewed({
    purpose: { name: `${namespace}/${name} NATS`.slice(0, 40), lasts: LASTS_MS, isForPeers: true },
    kept,
    published: isKnown ? kept.bundle : undefined,
    dnsNames: natsDnsNames(cluster),
    now,
  });
}
