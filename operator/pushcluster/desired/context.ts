import type { Metadata } from './metadata.ts';

/** Images where the cluster names none: those of the operator's own version. */
export type Images = { gateway: string; logic: string; nats: string };

/** What is decided elsewhere, or seen in the API server: all that `desired` needs beside the cluster itself. */
export type Context = {
  images: Images;
  /** Gateways to run: the scale-down drain decides. */
  gatewayReplicas: number;
  /** Old gateways of a rollout may be told to end as soon as new ones are ready. */
  releasesOld: boolean;
  /** Logic pods to run; undefined: another manager owns the field. `logicReplicas` decides. */
  logicReplicas: number | undefined;
  /** Whether the API server knows ServiceMonitors. */
  serviceMonitors: boolean;
  /** Data (base64) of this cluster's Secrets, by name, as far as they exist. What they hold is kept. */
  secrets: ReadonlyMap<string, Readonly<Record<string, string>>>;
  /** Random bytes for what no Secret holds yet. */
  random: (bytes: number) => Uint8Array;
};

/** An object to apply. */
export type DesiredObject = {
  apiVersion: string;
  kind: string;
  metadata: Metadata;
};
