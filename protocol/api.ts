import { z } from 'zod';
import { MAX_REASON_BYTES } from './closeCodes.ts';
import { GatewayStats } from './control.ts';
import { nameProblem } from './names.ts';

/**
 * Requests and responses of the push API, version 1. Schemas of requests are strict: an unknown field is refused by name,
 * since a misspelt `urgent` that is silently ignored is hard to find.
 */

/** Most rooms or users in one request. */
export const MAX_TARGETS = 1_000;
/** Longest `id` of a push, in bytes of UTF-8. */
export const MAX_ID_BYTES = 200;

const Name = z.string().superRefine((name, context) => {
  const problem = nameProblem(name);
  if (problem) context.addIssue({ code: 'custom', message: problem });
});

export const RoomName = Name.meta({ description: 'Name of a room: 1 to 128 bytes of UTF-8.', examples: ['live-42'] });
export const UserName = Name.meta({
  description: 'Name of a user, the `sub` of their token: 1 to 128 bytes of UTF-8.',
  examples: ['alice'],
});

/** Whom a push goes to. */
export type Target =
  | { type: 'all' }
  | { type: 'room'; room: string }
  | { type: 'rooms'; rooms: string[] }
  | { type: 'user'; user: string }
  | { type: 'users'; users: string[] };

export const To = z
  .strictObject({
    all: z.literal(true).optional().describe('Every connection of the cluster.'),
    room: RoomName.optional(),
    rooms: z.array(RoomName).min(1).max(MAX_TARGETS).optional().describe('Several rooms; a repeated name counts once.'),
    user: UserName.optional(),
    users: z.array(UserName).min(1).max(MAX_TARGETS).optional().describe('Several users; a repeated name counts once.'),
  })
  .meta({ minProperties: 1, maxProperties: 1 })
  .transform((to, context): Target => {
    const given = Object.values(to).filter((value) => value !== undefined).length;
    if (given === 1) {
      if (to.all) return { type: 'all' };
      if (to.room !== undefined) return { type: 'room', room: to.room };
      if (to.rooms) return { type: 'rooms', rooms: [...new Set(to.rooms)] };
      if (to.user !== undefined) return { type: 'user', user: to.user };
      if (to.users) return { type: 'users', users: [...new Set(to.users)] };
    }
    context.addIssue({ code: 'custom', message: 'needs exactly one of all, room, rooms, user and users' });
    return z.NEVER;
  });

export const PushRequest = z
  .strictObject({
    to: To.describe('Whom the push goes to: exactly one of `all`, `room`, `rooms`, `user` and `users`.'),
    items: z
      .array(z.unknown())
      .min(1)
      .describe('JSON values of any kind. Clients receive them byte for byte and in this order.'),
    urgent: z
      .boolean()
      .default(false)
      .describe(
        'Send at once, together with all queued items, rather than at the end of the merge window. Rate-limited.',
      ),
    id: z
      .string()
      .min(1)
      .refine((id) => id.isWellFormed() && Buffer.byteLength(id) <= MAX_ID_BYTES, {
        message: `must be well-formed Unicode of at most ${MAX_ID_BYTES} bytes of UTF-8`,
      })
      .optional()
      .describe(
        'Idempotency key. For two minutes, and through any logic process, a repeated request with the same id delivers nothing twice.',
      ),
  })
  .meta({ examples: [{ to: { room: 'live-42' }, items: [{ user: 'alice', text: 'hi' }], id: 'comment-1017' }] });
export type PushRequest = z.output<typeof PushRequest>;

export const PushFailure = z.object({
  room: z.string(),
  code: z.string().describe('Error code, such as `bus_unavailable`.'),
});
export type PushFailure = z.infer<typeof PushFailure>;

/** Epoch of a history: sequence numbers count within it. */
const epoch = z
  .string()
  .describe('The history that `seq` counts in. Another epoch is another history: the former one is gone.');

export const RoomPosition = z.object({
  room: z.string(),
  seq: z.number().int().describe("The push's number in the room's history. Numbers increase, and leave numbers out."),
  epoch,
});

const stored = {
  accepted: z.number().int().describe('Items in the request.'),
  rooms: z
    .array(RoomPosition)
    .optional()
    .describe('Where the push is stored. Only rooms with a history; absent if none has one.'),
};

export const Accepted = z
  .object(stored)
  .meta({ examples: [{ accepted: 1 }, { accepted: 1, rooms: [{ room: 'live-42', seq: 4711, epoch: 'Xk3_9aQz' }] }] });

export const PartlyAccepted = z
  .object({ ...stored, failed: z.array(PushFailure).describe('Rooms that the push did not reach.') })
  .meta({ examples: [{ accepted: 1, failed: [{ room: 'live-43', code: 'bus_unconfirmed' }] }] });

/** Most pushes in one request of `POST /v1/push/batch`. */
export const MAX_PUSHES = 1_000;
/** Most names of rooms and users in the pushes of one such request. */
export const MAX_BATCH_TARGETS = 10_000;

export const PushBatch = z
  .array(PushRequest)
  .min(1)
  .max(MAX_PUSHES)
  .describe(
    `Pushes, each as the body of \`POST /v1/push\`; together they name at most ${MAX_BATCH_TARGETS.toLocaleString('en')} rooms and users. As application/x-ndjson: one push per line.`,
  );

/** How many gateways an answer is made of. */
export const Asked = z
  .object({
    asked: z.number().int().describe('Gateways that answered, and known gateways that did not.'),
    answered: z.number().int().describe('Gateways that answered in time with all of their shards.'),
  })
  .meta({ examples: [{ asked: 3, answered: 3 }] });
export type Asked = z.infer<typeof Asked>;

const partial = z
  .literal(true)
  .optional()
  .describe('Present if the numbers are incomplete: a gateway, or a shard of one, did not answer in time.');

/** Rooms in a list by default. */
export const DEFAULT_ROOMS = 100;

/** A parameter that is a whole number in digits. `Number` alone would accept "", "0x10" and "1e2" too. */
function wholeNumber(schema: z.ZodNumber) {
  return z.preprocess((text) => (typeof text === 'string' && /^\d+$/.test(text) ? Number(text) : text), schema);
}

export const RoomsQuery = z
  .strictObject({
    limit: wholeNumber(z.number().int().min(1).max(1_000))
      .optional()
      .describe(`Most rooms in the list, ${DEFAULT_ROOMS} by default.`),
    room: RoomName.optional().describe(
      'Return this room only. Also accepts names that a path cannot hold, such as `..`.',
    ),
  })
  .refine(({ limit, room }) => limit === undefined || room === undefined, {
    path: ['limit'],
    message: 'must not be used together with room',
  });

export const Rooms = z
  .object({
    rooms: z
      .array(z.object({ room: z.string(), connections: z.number().int() }))
      .describe('The rooms with the most connections, in descending order.'),
    gateways: Asked,
    partial: z
      .literal(true)
      .optional()
      .describe(
        'Present if the list is incomplete: a gateway, or a shard of one, did not answer in time, or a gateway cut its list at 512 KiB.',
      ),
    total: z
      .number()
      .int()
      .optional()
      .describe('Number of rooms, present if the list is partial: exact with one gateway, a lower bound with several.'),
  })
  .meta({ examples: [{ rooms: [{ room: 'live-42', connections: 1200 }], gateways: { asked: 3, answered: 3 } }] });

export const RoomParams = z.strictObject({ room: RoomName });
export const Room = z
  .object({ room: z.string(), connections: z.number().int(), gateways: Asked, partial })
  .meta({ examples: [{ room: 'live-42', connections: 1200, gateways: { asked: 3, answered: 3 } }] });

/** Pushes in one answer by default. */
export const DEFAULT_PUSHES = 100;

const historyPage = {
  limit: wholeNumber(z.number().int().min(1).max(1_000))
    .optional()
    .describe(`Most pushes in the answer, ${DEFAULT_PUSHES} by default. Large pushes are fewer: see the answer.`),
  before: wholeNumber(z.number().int().min(1).max(Number.MAX_SAFE_INTEGER))
    .optional()
    .describe('Only pushes with a smaller `seq`: to page backwards, the smallest `seq` of the page before.'),
};
export const RoomHistoryQuery = z.strictObject(historyPage);
export const HistoryQuery = z.strictObject({
  room: RoomName.describe('The room. Also accepts names that a path cannot hold, such as `..`.'),
  ...historyPage,
});

export const RoomHistory = z
  .object({
    room: z.string(),
    epoch,
    pushes: z
      .array(
        z.object({
          seq: z.number().int(),
          at: z.string().describe('When the push was accepted (RFC 3339).'),
          items: z.array(z.unknown()).describe('The items, byte for byte as they were pushed.'),
        }),
      )
      .describe('The newest last.'),
  })
  .meta({
    examples: [
      {
        room: 'live-42',
        epoch: 'Xk3_9aQz',
        pushes: [{ seq: 4711, at: '2026-11-30T12:00:00.000Z', items: [{ user: 'alice', text: 'hi' }] }],
      },
    ],
  });

export const UsersQuery = z.strictObject({
  user: UserName.describe('The user. Also accepts names that a path cannot hold, such as `..`.'),
});
export const UserParams = z.strictObject({ user: UserName });
export const User = z
  .object({
    user: z.string(),
    connections: z.number().int(),
    byGateway: z
      .array(z.object({ gateway: z.string(), connections: z.number().int() }))
      .describe('Gateways that hold a connection of this user.'),
    gateways: Asked,
    partial,
  })
  .meta({
    examples: [
      {
        user: 'alice',
        connections: 2,
        byGateway: [{ gateway: 'gateway-7c9f', connections: 2 }],
        gateways: { asked: 3, answered: 3 },
      },
    ],
  });

export const DisconnectRequest = z
  .strictObject({
    user: UserName.optional().describe("Close this user's connections with code 4002."),
    room: RoomName.optional().describe('Remove everyone from this room. Their connections stay open.'),
    reason: z
      .string()
      .refine((reason) => reason.isWellFormed() && Buffer.byteLength(reason) <= MAX_REASON_BYTES, {
        message: `must be well-formed Unicode of at most ${MAX_REASON_BYTES} bytes of UTF-8`,
      })
      .default('disconnected by the API')
      .describe('Reason that clients receive.'),
  })
  .meta({ examples: [{ user: 'alice', reason: 'banned' }] })
  .transform((request, context) => {
    const { user, room, reason } = request;
    if (user !== undefined && room === undefined) return { type: 'user' as const, user, reason };
    if (room !== undefined && user === undefined) return { type: 'room' as const, room, reason };
    context.addIssue({ code: 'custom', message: 'needs exactly one of user and room' });
    return z.NEVER;
  });

export const Disconnected = z
  .object({
    gateways: z.object({
      told: z
        .number()
        .int()
        .describe('Gateways that logic knows. One that is cut off from NATS does not receive the command.'),
    }),
  })
  .meta({ examples: [{ gateways: { told: 3 } }] });

export const Stats = z
  .object({
    totals: z
      .object({
        connections: z.number(),
        messagesDelivered: z.number(),
        framesSent: z.number(),
        bytesSent: z.number(),
        messagesDropped: z.number(),
      })
      .describe('Sums over the gateways that answered. Each counts since its own start.'),
    byGateway: z.array(GatewayStats),
    gateways: Asked,
    partial,
  })
  .meta({
    examples: [
      {
        totals: { connections: 2, messagesDelivered: 40, framesSent: 8, bytesSent: 4210, messagesDropped: 0 },
        byGateway: [
          {
            gateway: 'gateway-7c9f',
            connections: 2,
            rooms: 1,
            shards: 1,
            messagesDelivered: 40,
            framesSent: 8,
            bytesSent: 4210,
            messagesDropped: 0,
            draining: false,
            startedAt: 1_790_000_000_000,
          },
        ],
        gateways: { asked: 1, answered: 1 },
      },
    ],
  });

/** The counters of go-push, with its names. */
export const GoPushStats = z
  .object({
    DispatchTotal: z.number().int().describe('Items published.'),
    DispatchFail: z.number().int().describe('Items refused because the bus was unavailable or overloaded.'),
    PushFail: z.number().int().describe('Requests that the bus did not confirm.'),
  })
  .meta({ examples: [{ DispatchTotal: 12, DispatchFail: 0, PushFail: 0 }] });

/** An error as a problem document (RFC 9457). */
export const ProblemDocument = z
  .object({
    type: z.string().describe('Path of this server that describes the error.'),
    title: z.string(),
    status: z.number().int(),
    code: z.string().describe('Error code. Programs decide by it: it never changes.'),
    detail: z.string().describe('What is wrong, and what to do.'),
    errors: z
      .array(
        z.object({
          pointer: z.string().optional().describe('A JSON pointer into the body.'),
          parameter: z.string().optional().describe('A parameter of the path or the query.'),
          detail: z.string(),
        }),
      )
      .optional()
      .describe('Places in the request that are wrong, ten at most.'),
  })
  .meta({
    examples: [
      {
        type: '/docs#item_too_large',
        title: 'An item is too large',
        status: 413,
        code: 'item_too_large',
        detail: 'items[17] has 40000 bytes; at most 32768 are allowed.',
        errors: [{ pointer: '#/items/17', detail: 'has 40000 bytes; at most 32768 are allowed' }],
      },
    ],
  });

const retryAfter = z
  .number()
  .int()
  .optional()
  .describe('Seconds to wait before the push is tried again (429 and 503).');

/** The answer to one push of a batch: what `POST /v1/push` answers, with its status. */
export const PushAnswer = z.union([
  Accepted.extend({ status: z.literal(202) }),
  PartlyAccepted.extend({ status: z.literal(207) }),
  ProblemDocument.extend({ retryAfter }),
]);
export type PushAnswer = z.infer<typeof PushAnswer>;

export const PushAnswers = z.array(PushAnswer).meta({
  examples: [
    [
      { status: 202, accepted: 1 },
      {
        type: '/docs#forbidden',
        title: 'The API key is not allowed to do this',
        status: 403,
        code: 'forbidden',
        detail: 'The API key "chat" is not allowed to do this: its scope lacks all.',
      },
    ],
  ],
});
