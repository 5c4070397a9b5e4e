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
import { answerPush } from '../publish/pushAnswer.ts';
import type { PushService } from '../publish/pushService.ts';

export type V1Options = { keys: ApiKeys; pushes: PushService; directory: OnlineDirectory; metrics: Metrics };

export const problem = (description: string) => ({
  description,
  content: { 'application/problem+json': { schema: ProblemDocument } },
});
export const COMMON = {
  400: problem('The body is malformed or does not match the schema.'),
  401: problem('The API key is missing or not valid.'),
  403: problem("The API key's scope does not allow this, or requests from this origin or machine are not allowed."),
  503: problem('The bus is unavailable (`bus_unavailable`), or logic is overloaded (`overloaded`). See Retry-After.'),
};
export const security = [{ key: [] }];
/** The problems of requests that push. */
export const PUSH_REFUSALS = {
  ...COMMON,
  413: problem('The body, the number of items or pushes, or an item is over its limit. The error names the item.'),
  415: problem('The media type of the body is not supported.'),
};

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
        'Answered when the bus has confirmed the items. After 503 `bus_unavailable` they will not be delivered. After 503 `bus_unconfirmed` they may or may not be delivered: a retry with the same `id` is harmless.',
      tags: ['push'],
      security,
      body: PushRequest,
      response: {
        202: Accepted.describe('The bus has confirmed the items.'),
        207: PartlyAccepted.describe('Some rooms failed.'),
        ...PUSH_REFUSALS,
        429: problem('Too many urgent pushes. See Retry-After.'),
      },
    },
    onResponse: (request, reply, done) => {
      metrics.answered(request.target, reply.statusCode);
      done();
    },
    handler: async (request, reply) => {
      request.target = request.body.to.type;
      const answer = await answerPush(pushes, request.caller, request.body, bodyItems(request.rawJson));
      if (answer.status === 202) return reply.code(202).send(answer.body);
      return reply.code(207).send(answer.body);
    },
  });

  app.route({
    method: 'GET',
    url: '/v1/rooms',
    schema: {
      operationId: 'listRooms',
      summary: 'The rooms with the most connections, or one room',
      description:
        'The list is merged from the fullest rooms of each gateway: a room that is on no such list is missing, and counts of smaller rooms can be too low. The count of one room, by `/v1/rooms/{room}` or `room=`, is exact. Use `room=` for names that clients resolve as path segments (`.`, `..`). The list is up to two seconds old: requests at about the same time share one.',
      tags: ['who is online'],
      security,
      querystring: RoomsQuery,
      response: {
        200: z.union([Rooms, Room]).describe('The fullest rooms, or the room that `room` names.'),
        ...COMMON,
      },
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
      response: { 200: Room.describe('Connections in the room.'), ...COMMON },
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
      summary: 'Connections of a user, by query parameter',
      description: 'Like `/v1/users/{user}`, and also for names that clients resolve as path segments (`.`, `..`).',
      tags: ['who is online'],
      security,
      querystring: UsersQuery,
      response: { 200: User.describe('Connections of the user.'), ...COMMON },
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
      summary: 'Connections of a user, by gateway',
      tags: ['who is online'],
      security,
      params: UserParams,
      response: { 200: User.describe('Connections of the user.'), ...COMMON },
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
        202: Disconnected.describe('The command was sent to the gateways.'),
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
      response: { 200: Stats.describe('Totals of the cluster and of each gateway.'), ...COMMON },
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
