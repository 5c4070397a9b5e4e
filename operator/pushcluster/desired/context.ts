import type { Metadata } from './metadata.ts';

/** Default images: those of the operator's own version. */
export type Images = { gateway: string; logic: string; nats: string };

/** Everything that `desired` needs in addition to the PushCluster: observations and earlier decisions. */
export type Context = {
  images: Images;
  /** `spec.replicas` of the gateway Deployment, from the scale plan. */
  gatewayReplicas: number;
  /** The rollout may terminate old gateways without delay. */
  releasesOld: boolean;
  /** `spec.replicas` of the logic Deployment, from `logicReplicas`; undefined if another manager owns the field. */
  logicReplicas: number | undefined;
  /** Whether the API server serves ServiceMonitors. */
  serviceMonitors: boolean;
  /** Data (base64) of the existing Secrets of the cluster, by name. Generated values in them are kept. */
  secrets: ReadonlyMap<string, Readonly<Record<string, string>>>;
  /** Random bytes for values that no Secret has yet. */
  random: (bytes: number) => Uint8Array;
};

/** An object to apply. */
export type DesiredObject = {
  apiVersion: string;
  kind: string;
  metadata: Metadata;
};
