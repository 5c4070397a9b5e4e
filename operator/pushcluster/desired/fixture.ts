import type { z } from 'zod';
import { PushCluster, type Spec } from '../../api/pushCluster.ts';
import type { Context } from './context.ts';
import { POD_DEFAULTS } from './pods.ts';

/** A PushCluster `live` in the namespace `shop`, for tests. */
export function clusterOf(
  spec: z.input<typeof Spec> = {},
  metadata: Partial<PushCluster['metadata']> = {},
): PushCluster {
  return PushCluster.parse({
    metadata: { name: 'live', namespace: 'shop', uid: 'uid-of-live', generation: 7, ...metadata },
    spec,
  });
}

/** The context of a new cluster, for tests. Random bytes are different for each secret. */
export function contextOf(overrides: Partial<Context> = {}): Context {
  let next = 0;
  return {
    images: { gateway: 'gateway:1', logic: 'logic:1', nats: 'nats:1', natsExporter: 'exporter:1' },
    podDefaults: POD_DEFAULTS,
    gatewayReplicas: 2,
    releasesOld: false,
    holdsOld: false,
    leaving: [],
    logicReplicas: 2,
    serviceMonitors: false,
    secrets: new Map(),
    random: (bytes) => new Uint8Array(bytes).fill(++next),
    ...overrides,
  };
}
