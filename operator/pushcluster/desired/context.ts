import type { V1LocalObjectReference, V1PodSecurityContext } from '@kubernetes/client-node';
import type { Certificates } from '../../certificates/certificates.ts';
import type { LeavingGateway } from '../gatewayPod.ts';
import type { Metadata } from './metadata.ts';

/** Default images: those of the operator's own version. */
export type Images = { gateway: string; logic: string; nats: string; natsExporter: string };

/** What the pods of all PushClusters have, as the operator is told. */
export type PodDefaults = {
  /** Fields in addition to those of the Pod Security Standard `restricted`, over which they take precedence. */
  securityContext: V1PodSecurityContext;
  /** Pull secrets in addition to those of the PushCluster. */
  imagePullSecrets: readonly V1LocalObjectReference[];
};

/** The managed NATS servers of a cluster, as they are. */
export type NatsSeen = {
  /** Hash of the configuration that the StatefulSet was applied with. */
  config: string | undefined;
  /** All servers run with it and are ready. */
  isSettled: boolean;
  /** Milliseconds since 1970. */
  now: number;
};

/** TLS of managed servers. */
export type ServersTls = {
  /** Clients without TLS are accepted too. */
  isOptional: boolean;
  /** Servers use TLS for the routes to each other. */
  routes: boolean;
  /** With `tls.crt`, `tls.key` and `ca.crt`. */
  secretName: string;
  /** Changes with the content of the Secret, which servers read only at their start. */
  fingerprint: string;
};

/** Everything that `desired` needs in addition to the PushCluster: observations and earlier decisions. */
export type Context = {
  images: Images;
  podDefaults: PodDefaults;
  /** URL of the runbook for alerts of PushClusters that do not set one. */
  runbook?: string;
  /** `spec.replicas` of the gateway Deployment, from the scale plan. */
  gatewayReplicas: number;
  /** The rollout may terminate old gateways without delay. */
  releasesOld: boolean;
  /** The rollout must not terminate old gateways before others that are terminating are gone. */
  holdsOld: boolean;
  /** Gateways that have left the Service, or are about to. */
  leaving: readonly LeavingGateway[];
  /** `spec.replicas` of the logic Deployment, from `logicReplicas`; undefined if another manager owns the field. */
  logicReplicas: number | undefined;
  /** Whether the API server serves ServiceMonitors. */
  serviceMonitors: boolean;
  /** Data (base64) of the existing Secrets of the cluster, by name. Generated values in them are kept. */
  secrets: ReadonlyMap<string, Readonly<Record<string, string>>>;
  /** Undefined if there are no managed NATS servers yet. */
  nats?: NatsSeen | undefined;
  /** TLS of managed NATS as it is to be now. Undefined: as the cluster asks for. */
  natsTls?: { servers: ServersTls | undefined; certificates: Certificates | undefined } | undefined;
  /** Random bytes for values that no Secret has yet. */
  random: (bytes: number) => Uint8Array;
};

/** An object to apply. */
export type DesiredObject = {
  apiVersion: string;
  kind: string;
  metadata: Metadata;
};
