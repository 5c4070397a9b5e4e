import { GoPushStats, ProblemDocument, RoomName } from '@pushcluster/protocol/api.ts';
import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { ApiKeys } from '../access/apiKeys.ts';
import { authorize } from '../access/authorization.ts';
import { requireKey } from '../http/authentication.ts';
import { acceptForms, formItems } from '../http/bodyParsers.ts';
import type { Metrics } from '../metrics.ts';
import type { PushService } from '../publish/pushService.ts';

export type GoPushOptions = { keys: ApiKeys; pushes: PushService; metrics: Metrics };

const Items = z.string().meta({ description: 'A JSON array.', examples: ['[{"msg":"hi"},{"msg":"bye"}]'] });
const problem = (description: string) => ({
  description,
  content: { 'application/problem+json': { schema: ProblemDocument } },
});
const REFUSALS = {
  400: problem(
    'The form is malformed, a field is missing, or `items` is not a JSON array. (go-push itself answers 200.)',
  ),
  401: problem('The API key is missing or not valid.'),
  403: problem("The API key's scope does not allow this, or requests from this origin or machine are not allowed."),
  413: problem('The body, the number of items, or an item is over its limit. The error names the item.'),
  415: problem('The body is not application/x-www-form-urlencoded.'),
  503: problem('The bus is unavailable (`bus_unavailable`) or did not confirm (`bus_unconfirmed`).'),
};
const PUSHED = {
  200: {
    description: 'Published; the body is empty, as in go-push.',
    content: { 'text/plain': { schema: z.literal('') } },
  },
  ...REFUSALS,
};
const consumes = ['application/x-www-form-urlencoded'];
const tags = ['go-push'];
const security = [{ key: [] }];

/** The push API of go-push, for backends that use it. Unknown form fields are ignored, as in go-push. */
export const goPushRoutes: FastifyPluginAsyncZod<GoPushOptions> = async (app, { keys, pushes, metrics }) => {
  requireKey(app, keys);
  acceptForms(app);

  app.route({
    method: 'POST',
    url: '/push/all',
    schema: {
      operationId: 'goPushAll',
      summary: 'Push to everyone, as in go-push',
      consumes,
      tags,
      security,
      body: z.object({ items: Items }),
      response: PUSHED,
    },
    onRequest: (request, _reply, done) => {
      request.target = 'all';
      done();
    },
    onResponse: (request, reply, done) => {
      metrics.answered(request.target, reply.statusCode);
      done();
    },
    handler: async (request, reply) => {
      const target = { type: 'all' as const };
      authorize(request.caller, target);
      await pushes.push(target, formItems(request.rawJson), { urgent: false, id: '' });
      return reply.code(200).type('text/plain').send('');
    },
  });

  app.route({
    method: 'POST',
    url: '/push/room',
    schema: {
      operationId: 'goPushRoom',
      summary: 'Push to a room, as in go-push',
      consumes,
      tags,
      security,
      body: z.object({ room: RoomName, items: Items }),
      response: PUSHED,
    },
    onRequest: (request, _reply, done) => {
      request.target = 'room';
      done();
    },
    onResponse: (request, reply, done) => {
      metrics.answered(request.target, reply.statusCode);
      done();
    },
    handler: async (request, reply) => {
      const target = { type: 'room' as const, room: request.body.room };
      authorize(request.caller, target);
      await pushes.push(target, formItems(request.rawJson), { urgent: false, id: '' });
      return reply.code(200).type('text/plain').send('');
    },
  });

  app.route({
    method: 'GET',
    url: '/stats',
    schema: {
      operationId: 'goPushStats',
      summary: "Counters of this logic process, under go-push's names",
      tags,
      security,
      response: { 200: GoPushStats.describe('The counters.'), 401: REFUSALS[401], 403: REFUSALS[403] },
    },
    handler: async (request) => {
      authorize(request.caller, { type: 'read' });
      return metrics.goPush;
    },
  });
};
