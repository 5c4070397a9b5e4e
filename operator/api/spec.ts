import { z } from 'zod';
import { bytesIn, mapOf, ruled } from './fields.ts';
import { LocalReference } from './kubernetes.ts';
import { Auth } from './spec/auth.ts';
import { twice } from './spec/batching.ts';
import { Gateway } from './spec/gateway.ts';
import { Image } from './spec/image.ts';
import { Logic } from './spec/logic.ts';
import { Monitoring } from './spec/monitoring.ts';
import { Nats } from './spec/nats.ts';
import { RoomPolicy } from './spec/rooms.ts';

/**
 * `spec` of a PushCluster, with one file for each of its sections. The CRD, its reference page and the operator's types
 * are made from it. Fields that the settings file has too have the same names and defaults there.
 */
export const Spec = ruled(
  z.object({
    image: Image.prefault({}).describe('Images of the pods.'),
    imagePullSecrets: mapOf(z.array(LocalReference).max(16), 'name').default([]).describe('For registries that ask.'),
    gateway: Gateway.prefault({}).describe('What holds the connections.'),
    logic: Logic.prefault({}).describe('What takes pushes.'),
    rooms: z
      .array(RoomPolicy)
      .max(256)
      .default([])
      .describe('Settings of rooms by name; the first that matches counts.'),
    auth: Auth.prefault({}).describe('Who may connect.'),
    nats: Nats.prefault({}).describe('What is between logic and gateways.'),
    monitoring: Monitoring.prefault({}).describe(
      'How Prometheus finds the pods; alerts and dashboards of this cluster alone.',
    ),
  }),
  {
    rule: `!has(self.rooms) || !has(self.gateway) || !has(self.gateway.slowConsumer) || self.rooms.all(room, !has(room.batching) || !has(room.batching.maxBytes) || ${twice('room.batching.maxBytes')}.compareTo(${bytesIn('self.gateway.slowConsumer.maxBuffer')}) <= 0)`,
    message:
      'spec.rooms[].batching.maxBytes must be at most half of spec.gateway.slowConsumer.maxBuffer, which holds two full frames',
    fieldPath: '.rooms',
  },
);
export type Spec = z.infer<typeof Spec>;
