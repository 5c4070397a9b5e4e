import { setImmediate as nextTurn } from 'node:timers/promises';
import { MAX_BATCH_TARGETS, type PushAnswer, PushAnswers, PushBatch, PushRequest } from '@pushcluster/protocol/api.ts';
import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { ApiKeys } from '../access/apiKeys.ts';
import type { Caller } from '../access/authorization.ts';
import { translateError } from '../errors/errorTranslation.ts';
import { Problem } from '../errors/problem.ts';
import { requireKey } from '../http/authentication.ts';
import { acceptJson, parsePart } from '../http/bodyParsers.ts';
import type { ErrorLog } from '../http/errorResponse.ts';
import { arrayPushes, type BatchedPush, linePushes } from '../items/batchedPushes.ts';
import { memberItems } from '../items/jsonItems.ts';
import type { Metrics } from '../metrics.ts';
import { HEADER_BYTES } from '../publish/messageSplitter.ts';
import { answerPush } from '../publish/pushAnswer.ts';
import type { PushService } from '../publish/pushService.ts';
import { WAVE_BYTES } from '../publish/roomFanOut.ts';
import { PUSH_REFUSALS, security } from './v1.ts';

export type PushBatchOptions = { keys: ApiKeys; pushes: PushService; metrics: Metrics; log: ErrorLog };

const JSON_TYPE = 'application/json';
const NDJSON_TYPE = 'application/x-ndjson';
/** Pushes that are started before other requests get their turn. */
const SLICE = 50;

/** The JSON value of a push, or why there is none. */
type Parsed = { bytes: Uint8Array } & ({ value: unknown } | { error: unknown });
/** A push that has been checked, or what is wrong with it. */
type Checked = { request: PushRequest; items: Uint8Array[] } | { error: unknown };

/** `POST /v1/push/batch`: many pushes in one request, each with an answer of its own. */
export const pushBatchRoutes: FastifyPluginAsyncZod<PushBatchOptions> = async (app, { keys, pushes, metrics, log }) => {
  requireKey(app, keys);
  acceptJson(app, [JSON_TYPE, NDJSON_TYPE]);

  app.route({
    method: 'POST',
    url: '/v1/push/batch',
    schema: {
      operationId: 'pushBatch',
      summary: 'Up to 1,000 pushes in one request',
      description:
        'The body is a JSON array of pushes, or NDJSON with one push per line. The answer has one element per push, in the same order: what `POST /v1/push` answers, and its `status`. The pushes are independent: one that is refused does not affect the others. They are sent in the order of the request.',
      consumes: [JSON_TYPE, NDJSON_TYPE],
      tags: ['push'],
      security,
      body: PushBatch,
      response: { 200: PushAnswers.describe('One answer per push, in order.'), ...PUSH_REFUSALS },
    },
    // Each push is checked by itself, so that one that is wrong costs no other.
    validatorCompiler: () => (data) => ({ value: data }),
    onResponse: (request, reply, done) => {
      if (reply.statusCode !== 200) metrics.answered(request.target, reply.statusCode);
      done();
    },
    handler: async (request) => {
      const body = request.rawJson;
      if (!body || body.length === 0) throw new Problem('malformed_body', 'The body is missing.');
      const isLines = request.headers['content-type']?.toLowerCase().startsWith(NDJSON_TYPE);
      const batch = (isLines ? linePushes(body) : arrayPushes(body)).map(parsed);
      requireFewTargets(batch);
      const refused: Record<string, number> = {};
      const answers = await answerAll(batch, async (push) => {
        try {
          return await answer(push, request.caller, pushes, metrics);
        } catch (error) {
          const refusal = translateError(error, body.length);
          refused[refusal.code] = (refused[refusal.code] ?? 0) + 1;
          metrics.answered('request' in push ? push.request.to.type : 'unknown', refusal.status);
          if (refusal.code === 'internal') log.error({ code: refusal.code, err: error }, 'a push of a batch failed');
          return answerOf(refusal);
        }
      });
      if (Object.keys(refused).length > 0)
        log.info(
          { peer: request.ip, caller: request.caller?.name, pushes: batch.length, refused },
          'pushes of a batch refused',
        );
      return answers;
    },
  });
};

function parsed({ bytes, parse }: BatchedPush): Parsed {
  try {
    return { bytes, value: parse() };
  } catch (error) {
    return { bytes, error };
  }
}

function check(push: Parsed): Checked {
  if ('error' in push) return push;
  try {
    const request = parsePart(PushRequest, push.value, 'push');
    return { request, items: memberItems(push.bytes, 'items') };
  } catch (error) {
    return { error };
  }
}

/**
 * Throws Problem too_many_pushes if the pushes name too many rooms and users: each name is a message of its own. Before the
 * names are checked, since that takes time too.
 */
function requireFewTargets(batch: readonly Parsed[]) {
  const names = batch.reduce((sum, push) => sum + ('value' in push ? namesIn(push.value) : 0), 0);
  if (names <= MAX_BATCH_TARGETS) return;
  const detail = `names ${names} rooms and users; at most ${MAX_BATCH_TARGETS} are allowed`;
  throw new Problem('too_many_pushes', `The body ${detail}. Split the batch.`, {
    errors: [{ pointer: '#', detail }],
  });
}

/** The number of rooms and users that a push names; at least 1. */
function namesIn(value: unknown): number {
  const { data } = Named.safeParse(value);
  return Math.max(1, lengthOf(data?.to.rooms), lengthOf(data?.to.users));
}

const Named = z.object({ to: z.object({ rooms: z.unknown().optional(), users: z.unknown().optional() }) });

function lengthOf(list: unknown): number {
  return Array.isArray(list) ? list.length : 1;
}

/**
 * Starts all pushes in order and waits for their answers. Others get their turn between, and before more is on its way than
 * one wave of a push to many rooms: its second wave would be overtaken.
 */
async function answerAll(
  batch: readonly Parsed[],
  answerOne: (push: Checked) => Promise<PushAnswer>,
): Promise<PushAnswer[]> {
  const answers: Promise<PushAnswer>[] = [];
  let onTheirWay = 0;
  for (const [i, push] of batch.entries()) {
    if (i % SLICE === SLICE - 1) await nextTurn();
    const checked = check(push);
    answers.push(answerOne(checked));
    onTheirWay += sizeOf(checked);
    if (onTheirWay <= WAVE_BYTES) continue;
    await Promise.all(answers);
    onTheirWay = 0;
  }
  return Promise.all(answers);
}

/** Bytes that a push takes on the bus, at least those of its messages. */
function sizeOf(push: Checked): number {
  if ('error' in push) return 0;
  const { to } = push.request;
  // Four bytes for the length of each item, one between two. Twice, since a push that takes several messages has a header in
  // each: two neighbours are more than one message of the bus can be.
  const bytes = 2 * push.items.reduce((sum, item) => sum + item.length + 5, HEADER_BYTES + 4);
  return bytes * (to.type === 'rooms' ? to.rooms.length : 1);
}

async function answer(
  push: Checked,
  caller: Caller | null,
  pushes: PushService,
  metrics: Metrics,
): Promise<PushAnswer> {
  if ('error' in push) throw push.error;
  const { status, body } = await answerPush(pushes, caller, push.request, push.items);
  metrics.answered(push.request.to.type, status);
  return status === 202 ? { status, ...body } : { status, ...body };
}

function answerOf(refusal: Problem): PushAnswer {
  const seconds = refusal.headers['retry-after'];
  return { ...refusal.document, ...(seconds === undefined ? {} : { retryAfter: Number(seconds) }) };
}
