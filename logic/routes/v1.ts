import {
  Accepted,
  DEFAULT_ROOMS,
  Disconnected,
  DisconnectRequest,
  PartlyAccepted,
  ProblemDocument,
  PushRequest,
  Room,
  RoomParams,
  Rooms,
  RoomsQuery,
  Stats,
  User,
  UserParams,
  UsersQuery,
} from '@pushcluster/protocol/api.ts';
import type { GatewayStats } from '@pushcluster/protocol/control.ts';
import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { ApiKeys } from '../access/apiKeys.ts';
import { authorize } from '../access/authorization.ts';
import { requireKey } from '../http/authentication.ts';
import { acceptJson, bodyItems } from '../http/bodyParsers.ts';
import type { Metrics } from '../metrics.ts';
import type { OnlineDirectory } from '../online/onlineDirectory.ts';
import { idempotencyKey } from '../publish/idempotencyKey.ts';
import type { PushService } from '../publish/pushService.ts';

export type V1Options = { keys: ApiKeys; pushes: PushService; directory: OnlineDirectory; metrics: Metrics };

const problem = (description: string) => ({
  description,
  content: { 'application/problem+json': { schema: ProblemDocument } },
});
const COMMON = {
  400: problem('The body is malformed or does not fit the schema.'),
  401: problem('No valid API key.'),
  403: problem("The key's scope lacks this, or the request comes from where it may not."),
  503: problem('The bus is away (`bus_unavailable`), or too much is under way (`overloaded`). See Retry-After.'),
};
const security = [{ key: [] }];

/** The v1 API. */
export const v1Routes: FastifyPluginAsyncZod<V1Options> = async (app, { keys, pushes, directory, metrics }) => {
  requireKey(app, keys);
  acceptJson(app);

  const roomOf = async (room: string) => {
    const { answers, ...complete } = await directory.ask('room', { room });
    return { room, connections: sum(answers, (answer) => answer.connections), ...complete };
  };
  const userOf = async (user: string) => {
    const { answers, ...complete } = await directory.ask('user', { user });
    const byGateway = answers
      .filter(({ connections }) => connections > 0)
      .map(({ gateway, connections }) => ({ gateway, connections }));
    return { user, connections: sum(byGateway, (on) => on.connections), byGateway, ...complete };
  };

  app.route({
    method: 'POST',
    url: '/v1/push',
    schema: {
      operationId: 'push',
      summary: 'Push items to everyone, rooms or users',
      description:
        'Answered when the bus has confirmed the items. 503 `bus_unavailable` means that they will not be delivered later; `bus_unconfirmed` that nobody can know: a retry with the same `id` is harmless.',
      tags: ['push'],
      security,
      body: PushRequest,
      response: {
        202: Accepted.describe('The bus has it.'),
        207: PartlyAccepted.describe('Some rooms failed.'),
        ...COMMON,
        413: problem('The body, the number of items or an item (named) is over its limit.'),
        415: problem('The body is not application/json.'),
        429: problem('Too many urgent pushes. See Retry-After.'),
      },
    },
    onResponse: (request, reply, done) => {
      metrics.answered(request.target, reply.statusCode);
      done();
    },
    handler: async (request, reply) => {
      const { to, urgent, id } = request.body;
      request.target = to.type;
      authorize(request.caller, to);
      const items = bodyItems(request.rawJson);
      const failed = await pushes.push(to, items, { urgent, id: idempotencyKey(request.caller?.name, to, id ?? '') });
      if (failed.length === 0) return reply.code(202).send({ accepted: items.length });
      return reply.code(207).send({ accepted: items.length, failed });
    },
  });

  app.route({
    method: 'GET',
    url: '/v1/rooms',
    schema: {
      operationId: 'listRooms',
      summary: 'The fullest rooms, by connections across the cluster; or one room',
      description:
        'Merged from the fullest rooms of each gateway: a room that is among them on no gateway can be missed, and counts of smaller rooms can be low. `/v1/rooms/{room}` is exact, and so is `room=` here, which names a room that clients take for steps in a path (`.`, `..`). Up to two seconds old: those who ask at about the same time share an answer.',
      tags: ['who is online'],
      security,
      querystring: RoomsQuery,
      response: { 200: z.union([Rooms, Room]).describe('The fullest rooms, or the one that `room` names.'), ...COMMON },
    },
    handler: async (request) => {
      authorize(request.caller, { type: 'read' });
      const { room, limit = DEFAULT_ROOMS } = request.query;
      return room === undefined ? directory.rooms(limit) : roomOf(room);
    },
  });

  app.route({
    method: 'GET',
    url: '/v1/rooms/:room',
    schema: {
      operationId: 'getRoom',
      summary: 'Connections in one room',
      tags: ['who is online'],
      security,
      params: RoomParams,
      response: { 200: Room.describe('Its connections.'), ...COMMON },
    },
    handler: async (request) => {
      authorize(request.caller, { type: 'read' });
      return roomOf(request.params.room);
    },
  });

  app.route({
    method: 'GET',
    url: '/v1/users',
    schema: {
      operationId: 'findUser',
      summary: 'Connections of a user, whom a path may not be able to name',
      description: 'Like `/v1/users/{user}`; also for users that clients take for steps in a path (`.`, `..`).',
      tags: ['who is online'],
      security,
      querystring: UsersQuery,
      response: { 200: User.describe('Their connections.'), ...COMMON },
    },
    handler: async (request) => {
      authorize(request.caller, { type: 'read' });
      return userOf(request.query.user);
    },
  });

  app.route({
    method: 'GET',
    url: '/v1/users/:user',
    schema: {
      operationId: 'getUser',
      summary: 'Connections of a user, and on which gateways',
      tags: ['who is online'],
      security,
      params: UserParams,
      response: { 200: User.describe('Their connections.'), ...COMMON },
    },
    handler: async (request) => {
      authorize(request.caller, { type: 'read' });
      return userOf(request.params.user);
    },
  });

  app.route({
    method: 'POST',
    url: '/v1/disconnect',
    schema: {
      operationId: 'disconnect',
      summary: 'Close the connections of a user, or take everyone out of a room',
      tags: ['who is online'],
      security,
      body: DisconnectRequest,
      response: {
        202: Disconnected.describe('The gateways have been told.'),
        ...COMMON,
        415: problem('The body is not application/json.'),
      },
    },
    handler: async (request, reply) => {
      const { reason, ...whom } = request.body;
      const command =
        whom.type === 'user'
          ? { type: 'disconnect_user' as const, user: whom.user, reason }
          : { type: 'disconnect_room' as const, room: whom.room, reason };
      authorize(request.caller, command);
      const told = await directory.tell(command);
      return reply.code(202).send({ gateways: { told } });
    },
  });

  app.route({
    method: 'GET',
    url: '/v1/stats',
    schema: {
      operationId: 'getStats',
      summary: 'Totals of the cluster and of each gateway',
      tags: ['who is online'],
      security,
      querystring: z.strictObject({}),
      response: { 200: Stats.describe('The totals.'), ...COMMON },
    },
    handler: async (request) => {
      authorize(request.caller, { type: 'read' });
      const { answers, ...complete } = await directory.ask('stats', {});
      const byGateway = answers.map((answer) => answer.stats);
      byGateway.sort((a, b) => (a.gateway < b.gateway ? -1 : 1));
      return { totals: totalsOf(byGateway), byGateway, ...complete };
    },
  });
};

function totalsOf(stats: readonly GatewayStats[]) {
  return {
    connections: sum(stats, (one) => one.connections),
    messagesDelivered: sum(stats, (one) => one.messagesDelivered),
    framesSent: sum(stats, (one) => one.framesSent),
    bytesSent: sum(stats, (one) => one.bytesSent),
    messagesDropped: sum(stats, (one) => one.messagesDropped),
  };
}

function sum<T>(list: readonly T[], of: (one: T) => number): number {
  return list.reduce((total, one) => total + of(one), 0);
}
