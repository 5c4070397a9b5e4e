import { z } from 'zod';
import { bytesIn, mapOf, ruled } from './fields.ts';
import { LocalReference } from './kubernetes.ts';
import { Auth } from './spec/auth.ts';
import { twice } from './spec/batching.ts';
import { Gateway } from './spec/gateway.ts';
import { History } from './spec/history.ts';
import { Image } from './spec/image.ts';
import { Log } from './spec/log.ts';
import { Logic } from './spec/logic.ts';
import { labelValue, marks } from './spec/metadata.ts';
import { Monitoring } from './spec/monitoring.ts';
import { Nats } from './spec/nats.ts';
import { RoomPolicy } from './spec/rooms.ts';

/**
 * `spec` of a PushCluster, with one file for each of its sections. The CRD, its reference page and the operator's types
 * are made from it. Fields that the settings file has too have the same names and defaults there.
 */
export const Spec = ruled(
  z.object({
    image: Image.prefault({}).describe('Container images of the pods.'),
    imagePullSecrets: mapOf(z.array(LocalReference).max(16), 'name')
      .default([])
      .describe('Secrets with credentials for the image registry. Changing it rolls out all pods.'),
    gateway: Gateway.prefault({}).describe('Gateway pods, which hold the WebSocket connections.'),
    logic: Logic.prefault({}).describe('Logic pods, which serve the push API.'),
    rooms: z
      .array(RoomPolicy)
      .max(256)
      .default([])
      .describe('Policies for rooms by name. If several match a room, the first one applies.'),
    history: History.prefault({}).describe('Histories of all rooms that have one.'),
    auth: Auth.prefault({}).describe('Authentication of clients.'),
    nats: Nats.prefault({}).describe('NATS, which carries messages from logic pods to gateways.'),
    monitoring: Monitoring.prefault({}).describe('Monitoring with Prometheus and Grafana.'),
    log: Log.prefault({}).describe('Log of gateways and logic.'),
    inheritedMetadata: z
      .object({
        labels: marks('inheritedMetadata.labels', labelValue).describe('Labels added to all objects.'),
        annotations: marks('inheritedMetadata.annotations', z.string()).describe('Annotations added to all objects.'),
      })
      .prefault({})
      .describe(
        'Metadata added to all objects that the operator makes for this PushCluster, for example because a policy of the Kubernetes cluster demands it. Those of single objects, such as `gateway.service.labels`, take precedence. Pods have it in their `podTemplate`, and volume claims cannot have it.',
      ),
    paused: z
      .boolean()
      .default(false)
      .describe(
        'Whether the operator changes nothing of this PushCluster: it writes no object, replaces no pod and drains no gateway, and only reports the status and withdraws endpoints of gateways that have gone. What Kubernetes has already started continues. Deletion works as usual.',
      ),
  }),
  {
    rule: `!has(self.rooms) || !has(self.gateway) || !has(self.gateway.slowConsumer) || self.rooms.all(room, !has(room.batching) || !has(room.batching.maxBytes) || ${twice('room.batching.maxBytes')}.compareTo(${bytesIn('self.gateway.slowConsumer.maxBuffer')}) <= 0)`,
    message:
      'spec.rooms[].batching.maxBytes must be at most half of spec.gateway.slowConsumer.maxBuffer, which must hold two full frames',
    fieldPath: '.rooms',
  },
  {
    rule: '!has(self.rooms) || self.rooms.all(room, !has(room.history)) || (has(self.nats) && (has(self.nats.url) || (has(self.nats.managed) && has(self.nats.managed.jetstream))))',
    message:
      'spec.rooms[].history requires spec.nats.managed.jetstream, or spec.nats.url with JetStream: NATS stores nothing otherwise',
    fieldPath: '.rooms',
  },
  {
    rule: '!has(self.rooms) || !has(self.nats) || !has(self.nats.managed) || self.nats.managed.replicas >= 3 || self.rooms.all(room, !has(room.history) || room.history.replicas == 1)',
    message:
      'spec.rooms[].history.replicas 3 requires spec.nats.managed.replicas of 3 or 5: each copy is on another server',
    fieldPath: '.rooms',
  },
  {
    rule: '!has(self.history) || !has(self.history.storage) || (has(self.nats) && has(self.nats.url))',
    message:
      'spec.history.storage requires spec.nats.url: for managed servers, set spec.nats.managed.jetstream.storage',
    fieldPath: '.history.storage',
  },
);
export type Spec = z.infer<typeof Spec>;
