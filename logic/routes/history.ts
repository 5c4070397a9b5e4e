import { DEFAULT_PUSHES, HistoryQuery, RoomHistory, RoomHistoryQuery, RoomParams } from '@pushcluster/protocol/api.ts';
import type { FastifyReply } from 'fastify';
import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import type { ApiKeys } from '../access/apiKeys.ts';
import { authorize, type Caller } from '../access/authorization.ts';
import type { HistoryReader } from '../history/historyReader.ts';
import { requireKey } from '../http/authentication.ts';
import { ResponseSlots } from '../http/responseSlots.ts';
import { COMMON, problem, security } from './v1.ts';

/** Answers that are made and sent at once. Each may go through the whole history of a room, and takes some MiB. */
const MAX_ANSWERS = 16;

export type HistoryOptions = {
  keys: ApiKeys;
  histories: HistoryReader;
  /** Called for each request that is one too many. */
  onRefused: () => void;
};

type Question = { room: string; limit?: number | undefined; before?: number | undefined };

const response = {
  200: RoomHistory.describe(
    'Pushes of the room, the newest last. Fewer than `limit` if they are larger than 4 MiB together; none only if there is none before `before`.',
  ),
  ...COMMON,
  404: problem('The room has no history (`no_history`).'),
};

/** `GET /v1/rooms/{room}/history`, and `GET /v1/history` for names that a path cannot hold. */
export const historyRoutes: FastifyPluginAsyncZod<HistoryOptions> = async (app, { keys, histories, onRefused }) => {
  requireKey(app, keys);
  const slots = new ResponseSlots(MAX_ANSWERS, onRefused);

  const answer = async (caller: Caller | null, reply: FastifyReply, { room, limit, before }: Question) => {
    authorize(caller, { type: 'history', room });
    const text = await slots.make(reply.raw, () => histories.read(room, limit ?? DEFAULT_PUSHES, before));
    // As bytes: the items are not written anew.
    return reply.type('application/json; charset=utf-8').send(text as never);
  };

  app.route({
    method: 'GET',
    url: '/v1/rooms/:room/history',
    schema: {
      operationId: 'getRoomHistory',
      summary: 'The last pushes of a room',
      description:
        'Rooms whose policy has a `history`. Page backwards with `before`, the smallest `seq` of the page before, until a page is empty. A push is missing once the limits of the policy have removed it.',
      tags: ['history'],
      security,
      params: RoomParams,
      querystring: RoomHistoryQuery,
      response,
    },
    handler: async (request, reply) => answer(request.caller, reply, { ...request.params, ...request.query }),
  });

  app.route({
    method: 'GET',
    url: '/v1/history',
    schema: {
      operationId: 'findRoomHistory',
      summary: 'The last pushes of a room, by query parameter',
      description:
        'Like `/v1/rooms/{room}/history`, and also for names that clients resolve as path segments (`.`, `..`).',
      tags: ['history'],
      security,
      querystring: HistoryQuery,
      response,
    },
    handler: async (request, reply) => answer(request.caller, reply, request.query),
  });
};
